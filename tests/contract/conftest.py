"""One model server in this process, and a client of every wire in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from crossover.endpoints.grpc.servicer import GrpcOptions
from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.serve import RestListener
from crossover.endpoints.rest.types import RestOptions
from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.repository import Repository
from crossover.model_server.server import grpc_listener
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.wires import WIRES, Target, connect
from tests.graphs import adding_graph, echo_graph, save

LIMIT = 4 << 20
TWICE = """platform: "ensemble"
input [ { name: "in" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "out" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling { step [
  { model_name: "adding" input_map { key: "a" value: "in" } output_map { key: "sum" value: "half" } },
  { model_name: "adding" input_map { key: "a" value: "half" } output_map { key: "sum" value: "out" } }
] }
"""


@pytest.fixture(scope="session")
def repository(tmp_path_factory, root) -> Path:
    """Every datatype as `echo-<TYPE>`, a scalar, an odd name, two inputs and outputs, an ensemble, and the committed `work`."""
    folder = tmp_path_factory.mktemp("repository")
    for name in DATATYPES:
        save(folder, f"echo-{name}", echo_graph(name))
    save(folder, "scalar", echo_graph("FP32", []))
    save(folder, "odd name ü%", echo_graph("FP32"))
    save(folder, "adding", adding_graph())
    (folder / "twice" / "1").mkdir(parents=True)
    (folder / "twice" / "config.pbtxt").write_text(TWICE)
    (folder / "work").symlink_to(root / "models" / "work")
    return folder


@asynccontextmanager
async def serving(repository: Path, library: str = "grpcio") -> AsyncIterator[tuple[Engine, Target]]:
    """A model server on free ports."""
    engine = Engine(Repository(repository, "none"), Executor())
    await engine.repository.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.close)
        grpc = grpc_listener(library)(engine, "127.0.0.1", 0, options=GrpcOptions(max_message_bytes=LIMIT))
        rest = RestListener(
            OipRest(lambda _: (None, engine), settings=RestOptions(max_message_bytes=LIMIT)), "127.0.0.1", 0
        )
        for listener in (grpc, rest):
            await listener.start()
            stack.push_async_callback(listener.stop, 1)
        options = {"model_repository": str(repository), "model_control": "none"}
        yield (
            engine,
            Target(f"127.0.0.1:{grpc.port}", f"http://127.0.0.1:{rest.port}", max_message_bytes=LIMIT, options=options),
        )


WAYS = {
    **{name: (name, "grpcio") for name in WIRES},
    **{f"{name} to lean": (name, "lean") for name, wire in WIRES.items() if wire.kind == "grpc"},
}
"""Each wire of the registry, and those over gRPC once more in front of the other library."""


@pytest_asyncio.fixture(params=list(WAYS), scope="module", loop_scope="module")
async def wired(request, repository):
    """(registry line, client, engine behind it) for each of these ways; all tests of a way share one service."""
    name, library = WAYS[request.param]
    async with serving(repository, library) as (engine, target):
        client = connect(name, target)
        try:
            yield WIRES[name], client, engine
        finally:
            await client.close()
