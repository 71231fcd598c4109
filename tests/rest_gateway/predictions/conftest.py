"""A gateway's /api around a model of our own, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from crossover.protocol.deadline import check
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.messages import InferResponse
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from crossover.rest_gateway.predictions import PredictionOptions, Predictions
from crossover.rest_gateway.predictions.database import Database
from crossover.rest_gateway.predictions.database import database_url as located
from crossover.rest_gateway.predictions.schema import metadata

POSTGRES = Path("/usr/lib/postgresql")
PORT = 8080


class FakeModel:
    """`Inference` of three models: `scores` gives back its row, `slow` waits at a gate, `versioned` says its version."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: InferenceError | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def infer(self, request, context):
        self.calls += 1
        self._known(request.model_name)
        if self.error is not None:
            raise self.error
        context.mark("sent")
        check(context.deadline, "before the model ran")
        tensor = request.inputs[0]
        if tensor.shape[-1] != 3:
            raise invalid(f"input 'x' has shape {list(tensor.shape)}; it takes [-1, 3]")
        if request.model_name == "slow":
            await asyncio.sleep(0.05)
            await self.gate.wait()
        context.mark("answered")
        context.bytes_sent, context.bytes_received = 100, 50
        return InferResponse(request.model_name, "2", [Tensor.from_array("scores", tensor.array)])

    async def model_metadata(self, name, version, context):
        self._known(name)
        if self.error is not None:
            raise self.error
        described = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=name,
            versions=["2"],
            platform="fake",
            inputs=[described(name="x", datatype="FP32", shape=[-1, 3])],
            outputs=[described(name="scores", datatype="FP32", shape=[-1, 3])],
        )

    async def repository_index(self, ready, context):
        index = pb.RepositoryIndexResponse()
        for name in ("scores", "slow"):
            index.models.add(name=name, version="2", state="READY")
        return index

    def _known(self, name):
        if name not in ("scores", "slow"):
            raise InferenceError(Code.NOT_FOUND, f"there is no model '{name}'")


@dataclass
class FakeUpstreams:
    models: dict = field(default_factory=dict)

    def get(self, name=None):
        chosen = name or "grpc"
        if chosen not in self.models:
            raise invalid(f"'{chosen}' is not an upstream; choose one of {', '.join(self.models)}")
        return chosen, self.models[chosen]


class Gateway:
    """One gateway in this process: its app, its upstream's model and a client."""

    def __init__(self, options: PredictionOptions) -> None:
        self.model = FakeModel()
        self.options = options
        self.app = FastAPI()
        predictions = Predictions(FakeUpstreams({"grpc": self.model, "rest": self.model}), options)
        predictions.install(self.app)
        self._lifespan = predictions.running()
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://gateway")

    async def __aenter__(self):
        await self._lifespan.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.client.aclose()
        await self._lifespan.__aexit__(*error)

    async def post(self, document=None, headers=None, **members):
        return await self.client.post("/api/predictions", json={**(document or body()), **members}, headers=headers)

    async def until(self, location, *states):
        for _ in range(400):
            found = (await self.client.get(location)).json()
            if found["state"] in states:
                return found
            await asyncio.sleep(0.02)
        raise AssertionError(f"{location} never became {states}: {found}")


def body(data=(0.1, 0.7, 0.2), model="scores", **members):
    return {
        "model": model,
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, len(data)], "data": list(data)}],
        **members,
    }


@pytest.fixture(name="body")
def body_fixture():
    return body


class Postgres:
    """A PostgreSQL server of our own on a free port, run by Debian's user `postgres` when we are root."""

    def __init__(self, name: str) -> None:
        binaries = next(iter(sorted(POSTGRES.glob("*/bin"), reverse=True)), None)
        if binaries is None:
            pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql)")
        self._binaries = binaries
        self.folder = Path("/tmp") / f"crossover-{name}-{os.getpid()}"
        self.folder.mkdir(mode=0o700)
        self._data = self.folder / "data"
        self._as_user = []
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres")
            self._as_user = ["runuser", "-u", "postgres", "--"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"postgresql+asyncpg://postgres@127.0.0.1:{self._port}"
        subprocess.run([*self._as_user, binaries / "initdb", "-D", self._data, "-A", "trust", "-U", "postgres", "--locale=C",
                        "-E", "UTF8"], check=True, capture_output=True, cwd=self.folder)  # fmt: skip
        self.start()

    def start(self) -> None:
        """Return when it accepts connections; it may refuse to start while what a killed one left is still there."""
        options = [
            "-c",
            "fsync=off",
            "-c",
            f"unix_socket_directories={self.folder}",
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        command = [*self._as_user, self._binaries / "postgres", "-D", self._data, "-p", str(self._port), *options]
        asked = [self._binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
            for _ in range(600):
                if subprocess.run(asked, check=False).returncode == 0:
                    return
                if self._server.poll() is not None:
                    self._server = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
                time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def restart(self, number: int) -> None:
        """End it by a signal, and start it again."""
        os.kill(int((self._data / "postmaster.pid").read_text().split()[0]), number)
        self._server.wait(20)
        self.start()

    def stop(self) -> None:
        self._server.terminate()
        self._server.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server():
    """The URL of a server that all tests share."""
    server = Postgres("postgres")
    yield server.url
    server.stop()


@pytest.fixture
def postgres_restarts():
    """A server of the test's own, to be restarted."""
    server = Postgres("postgres-restarts")
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def database_url(request, tmp_path):
    """The URL of an empty database; None means the gateway's own SQLite file."""
    if request.param == "sqlite":
        yield None
        return
    import asyncpg

    url = f"{request.getfixturevalue('postgres_server')}/postgres"
    yield url
    admin = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        for table in metadata.tables:
            with contextlib.suppress(asyncpg.UndefinedTableError):
                await admin.execute(f"TRUNCATE {table}")
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """A SQLite store that a gateway has migrated and left: made once, for migrations are half of what a test's start costs."""
    data_dir = tmp_path_factory.mktemp("empty-store")

    async def migrated():
        store = Database(located(None, data_dir, PORT))
        await store.migrate()
        await store.close()

    asyncio.run(migrated())
    return located(None, data_dir, PORT).database


@pytest.fixture
def options(tmp_path, database_url):
    return PredictionOptions(
        data_dir=tmp_path / "data", port=PORT, database_url=database_url, lease_seconds=10.0, default_timeout_ms=10_000
    )


@pytest.fixture
def store(options, empty_store):
    """The options of a store that needs no migrations, unless a test has made its own before."""
    if options.database_url is None and not options.data_dir.exists():
        options.data_dir.mkdir(mode=0o700)
        shutil.copy(empty_store, options.data_dir)
    return options


@pytest.fixture
async def gateway(store):
    async with Gateway(store) as running:
        yield running


@pytest.fixture
def client(gateway):
    return gateway.client


@pytest.fixture
def start(store):
    """Start further gateways on the same store; each is to be entered with `async with`."""

    def make(**changes):
        return Gateway(replace(store, **changes))

    return make


@pytest.fixture
def nan():
    return np.float32("nan")
