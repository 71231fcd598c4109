"""One model server in this process, and a client of every wire in front of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from endpoints.grpc.serve import GrpcListener
from endpoints.grpc.servicer import GrpcOptions
from endpoints.rest.app import OipRest
from endpoints.rest.serve import RestListener
from endpoints.rest.types import RestOptions
from model_server.engine import Engine
from model_server.execution import Executor
from model_server.repository import Repository
from protocol.datatypes import DATATYPES
from protocol.wires import WIRES, Target, connect

LIMIT = 4 << 20
ONNX_TYPES = {
    "BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16, "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8, "INT16": TensorProto.INT16, "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64, "FP16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE, "BYTES": TensorProto.STRING,
}  # fmt: skip


def save(repository: Path, name: str, graph: onnx.GraphProto, version: int = 1) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = repository / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def echo_graph(datatype: str, shape: list[int | str] | None = None) -> onnx.GraphProto:
    """y = x of one datatype."""
    dims = ["n", "m"] if shape is None else shape
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "echo",
        [helper.make_tensor_value_info("x", ONNX_TYPES[datatype], dims)],
        [helper.make_tensor_value_info("y", ONNX_TYPES[datatype], dims)],
    )


def adding_graph() -> onnx.GraphProto:
    """sum = a + b, difference = a - b; b may be left out and is then 10."""
    value = helper.make_tensor_value_info
    return helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])],
        "adding",
        [value("a", TensorProto.FLOAT, ["n"]), value("b", TensorProto.FLOAT, [1])],
        [value("sum", TensorProto.FLOAT, ["n"]), value("difference", TensorProto.FLOAT, ["n"])],
        [onnx.numpy_helper.from_array(np.array([10], np.float32), "b")],
    )


@pytest.fixture(scope="session")
def repository(tmp_path_factory, root) -> Path:
    """Every datatype as `echo-<TYPE>`, a scalar, an odd name, two inputs and outputs, and the committed `work`."""
    folder = tmp_path_factory.mktemp("repository")
    for name in DATATYPES:
        save(folder, f"echo-{name}", echo_graph(name))
    save(folder, "scalar", echo_graph("FP32", []))
    save(folder, "odd name ü%", echo_graph("FP32"))
    save(folder, "adding", adding_graph())
    (folder / "work").symlink_to(root / "models" / "work")
    return folder


@asynccontextmanager
async def serving(repository: Path) -> AsyncIterator[tuple[Engine, Target]]:
    """A model server on free ports."""
    engine = Engine(Repository(repository, "none"), Executor())
    await engine.repository.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.close)
        grpc = GrpcListener(engine, "127.0.0.1", 0, options=GrpcOptions(max_message_bytes=LIMIT))
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


@pytest.fixture(params=list(WIRES))
async def wired(request, repository):
    """(registry line, client, engine behind it) for each wire of the registry."""
    async with serving(repository) as (engine, target):
        client = connect(request.param, target)
        try:
            yield WIRES[request.param], client, engine
        finally:
            await client.close()
