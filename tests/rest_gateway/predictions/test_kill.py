"""SIGKILL of a real gateway: what it acknowledged is there, and what it accepted ends with one outcome."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess

import httpx
import pytest

from crossover.stack.services import ServiceProcess, free_ports

LATER = {"Prefer": "respond-async"}
JOBS = 12
TURNS = 40_000
"""Turns of the `work` model that keep a job running long enough to be killed in the middle."""


class Process:
    """One gateway process with the engine in it, which can be killed and started again on the same store."""

    def __init__(self, environment, log):
        self.port = free_ports(1)[0]
        self.base = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._environment = {
            "GATEWAY_PORT": str(self.port),
            "GATEWAY_UPSTREAM": "inprocess",
            "PREDICTION_LEASE_SECONDS": "1",
            **environment,
        }
        self._service = None

    def start(self):
        self._service = ServiceProcess("rest_gateway", self._environment, ("127.0.0.1", self.port), self._log)
        self._service.await_ready()

    def kill(self):
        self._service.signal(signal.SIGKILL)
        self._service.wait(10)

    def stop(self):
        return self._service.stop() if self._service is not None else 0


@pytest.fixture
def process(tmp_path, database_url):
    """Make gateway processes on one store; all are stopped at the end."""
    made = []
    log = (tmp_path / "log").open("wb")

    def make():
        made.append(Process({"DATA_DIR": str(tmp_path), "DATABASE_URL": database_url or ""}, log))
        made[-1].start()
        return made[-1]

    yield make
    for gateway in made:
        gateway.stop()
    log.close()


def identity(number):
    return {
        "model": "identity",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [number]}],
        "label": number,
    }


def work(turns=TURNS):
    return {
        "model": "work",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16},
            {"name": "turns", "datatype": "INT64", "shape": [1], "data": [turns]},
        ],
    }


@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgres", marks=[pytest.mark.postgres, pytest.mark.slow])], indirect=True
)
async def test_acknowledged_writes(process):
    """Kill -9 under load: every prediction and every change that was acknowledged is there after the restart."""
    gateway = process()
    acknowledged: dict[str, str] = {}

    async def write(client, first):
        for number in range(first, first + 10_000):
            made = await client.post("/api/predictions", json=identity(number))
            assert made.status_code == 201, made.text
            place = made.headers["location"]
            acknowledged[place] = made.headers["etag"]
            changed = await client.patch(place, json={"note": "seen"}, headers={"If-Match": made.headers["etag"]})
            assert changed.status_code == 200, changed.text
            acknowledged[place] = changed.headers["etag"]

    async with httpx.AsyncClient(base_url=gateway.base, timeout=20) as client:
        writers = [asyncio.create_task(write(client, 100_000 * index)) for index in range(6)]
        for _ in range(600):
            if len(acknowledged) > 60 or any(writer.done() for writer in writers):
                break
            await asyncio.sleep(0.05)
        gateway.kill()
        ends = await asyncio.gather(*writers, return_exceptions=True)
    assert all(isinstance(end, httpx.TransportError) for end in ends), ends
    assert len(acknowledged) > 60
    gateway.start()
    async with httpx.AsyncClient(base_url=gateway.base, timeout=20) as client:
        for place, etag in acknowledged.items():
            found = await client.get(place)
            assert found.status_code == 200
            # the last change may have been stored without its acknowledgement having arrived
            assert int(found.headers["etag"].strip('"').split("-")[1]) >= int(etag.strip('"').split("-")[1])


@pytest.mark.slow
async def test_accepted_jobs(process):
    """Every accepted job ends with exactly one outcome, though the gateway is killed again and again."""
    gateway = process()
    places = []
    async with httpx.AsyncClient(base_url=gateway.base, timeout=20) as client:
        for _ in range(JOBS):
            accepted = await client.post("/api/predictions", json=work(), headers=LATER)
            assert accepted.status_code == 202, accepted.text
            places.append(accepted.headers["location"])
    for _ in range(2):
        await asyncio.sleep(0.2)
        gateway.kill()
        gateway.start()
    async with httpx.AsyncClient(base_url=gateway.base, timeout=20) as client:
        ended = [await _ended(client, place) for place in places]
        assert {found.json()["state"] for found in ended} == {"succeeded"}
        listed = (await client.get("/api/predictions?limit=500")).json()["predictions"]
        assert sorted(item["links"]["self"] for item in listed) == sorted(places)
        await asyncio.sleep(1.5)
        for place, found in zip(places, ended, strict=True):
            assert (await client.get(place)).content == found.content


@pytest.mark.slow
@pytest.mark.parametrize("database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
async def test_another_gateway_goes_on(process):
    """With several gateways on one PostgreSQL store, the jobs of a killed one are done by another."""
    first, second = process(), process()
    places = []
    async with httpx.AsyncClient(base_url=first.base, timeout=20) as client:
        for _ in range(JOBS):
            places.append((await client.post("/api/predictions", json=work(), headers=LATER)).headers["location"])
    first.kill()
    async with httpx.AsyncClient(base_url=second.base, timeout=20) as client:
        for place in places:
            assert (await _ended(client, place)).json()["state"] == "succeeded"


def test_database_that_cannot_be_opened(tmp_path):
    """A database that is away ends the start with one sentence, without its password, and exit code 2."""
    import os
    import sys

    from crossover.stack.services import ROOT

    url = f"postgresql+asyncpg://me:secret@127.0.0.1:{free_ports(1)[0]}/none"
    environment = {**os.environ, "DATABASE_URL": url, "GATEWAY_PORT": str(free_ports(1)[0]), "DATA_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-m", "rest_gateway"], cwd=ROOT, env=environment, capture_output=True,
                           text=True, timeout=60)  # fmt: skip
    assert ended.returncode == 2
    assert "cannot open the database" in ended.stderr
    assert "secret" not in ended.stderr
    assert "Traceback" not in ended.stderr


async def _ended(client, place):
    for _ in range(600):
        with contextlib.suppress(httpx.TransportError):
            found = await client.get(place)
            if found.json()["state"] in ("succeeded", "failed"):
                return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{place} did not end: {found.text}")
