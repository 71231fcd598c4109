"""Until the repository has been read, nobody is told that what is in it does not exist."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil

import grpc
import numpy as np
import pytest

from crossover.model_server.engine import Engine
from crossover.model_server.entry import Entry
from crossover.model_server.executor import Executor
from crossover.model_server.metrics import EngineMetrics
from crossover.model_server.repository import Repository
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from crossover.stack.services import ServiceProcess, free_ports
from tests.graphs import echo_graph, save

X = Tensor.from_array("x", np.zeros((1, 2), np.float32))
CONTEXT = CallContext()
DEPENDS = {
    "infer": lambda engine: engine.infer(InferRequest("m", [X]), CallContext()),
    "infer of a version": lambda engine: engine.infer(InferRequest("m", [X], "1"), CallContext()),
    "model_metadata": lambda engine: engine.model_metadata("m", "", CONTEXT),
    "model_metadata of a version": lambda engine: engine.model_metadata("m", "1", CONTEXT),
    "model_config": lambda engine: engine.model_config("m", "", CONTEXT),
    "model_statistics": lambda engine: engine.model_statistics("m", "", CONTEXT),
    "statistics of all": lambda engine: engine.model_statistics("", "", CONTEXT),
    "repository_index": lambda engine: engine.repository_index(False, CONTEXT),
    "load": lambda engine: engine.load_model("m", {}, CONTEXT),
    "unload": lambda engine: engine.unload_model("m", {}, CONTEXT),
}


@pytest.mark.parametrize("call", DEPENDS)
@pytest.mark.parametrize("known", [False, True], ids=["not yet found", "being loaded"])
async def test_what_depends_on_the_repository_is_unavailable_until_it_has_been_read(tmp_path, call, known):
    """UNAVAILABLE for every call, whether the model was not yet found or is found and not yet loaded."""
    save(tmp_path, "m", echo_graph("FP32"), 1)
    engine = Engine(Repository(tmp_path), Executor())
    if known:
        engine.repository.entries["m"] = Entry("m", tmp_path / "m", loading=True)
    with pytest.raises(InferenceError) as caught:
        await DEPENDS[call](engine)
    assert caught.value.code is Code.UNAVAILABLE
    assert not await engine.server_ready(CONTEXT)
    list(EngineMetrics(engine).collect())  # whoever scrapes is no caller of the repository
    await engine.close()


@pytest.mark.parametrize("strict", [False, True])
async def test_strict_readiness_wants_every_model(tmp_path, strict):
    """A model that cannot serve makes a strict server unready, one that was unloaded does not (Triton's rule)."""
    save(tmp_path, "good", echo_graph("FP32"), 1)
    bad = tmp_path / "bad" / "1"
    bad.mkdir(parents=True)
    (bad / "model.onnx").write_bytes(b"not a model")
    engine = Engine(Repository(tmp_path, "poll", 60, strict_readiness=strict), Executor())
    await engine.repository.start()
    assert await engine.server_ready(CONTEXT) is not strict
    await engine.unload_model("bad", {}, CONTEXT)
    assert await engine.server_ready(CONTEXT)
    await engine.close()


@pytest.mark.parametrize("library", ["grpcio", "lean"])
async def test_nothing_is_not_found_while_the_server_starts(tmp_path, library):
    """Asked without a pause from the moment the ports open, on both wires: 503 with Retry-After, then the answer."""
    for number in range(150):
        save(tmp_path, f"m{number}", echo_graph("FP32"), 1)
    rest, grpc_port = free_ports(2)
    environment = {
        "MODEL_SERVER_HTTP_PORT": str(rest), "MODEL_SERVER_GRPC_PORT": str(grpc_port),
        "MODEL_REPOSITORY": str(tmp_path), "MODEL_SERVER_GRPC_LIBRARY": library,
    }  # fmt: skip
    service = ServiceProcess("model_server", environment, ("127.0.0.1", rest))
    try:
        over_rest, over_grpc = await asyncio.gather(_asked_over_rest(rest), _asked_over_grpc(grpc_port))
    finally:
        await asyncio.to_thread(service.stop)
        shutil.rmtree(tmp_path)
    assert over_rest[-1] == (200, None)
    assert set(over_rest[:-1]) <= {(503, "1")}
    assert over_grpc[-1] == "OK"
    assert set(over_grpc[:-1]) <= {"UNAVAILABLE"}
    assert over_rest[:-1] or over_grpc[:-1], "the server was up before anybody asked"


async def _asked_over_rest(port: int) -> list[tuple[int, str | None]]:
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]})
    found = []

    def ask(method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            reply.read()
            return reply.status, reply.headers["retry-after"]
        finally:
            connection.close()

    paths = [
        ("POST", "/v2/models/m149/infer", body),
        ("GET", "/v2/models/m149/versions/1"),
        ("GET", "/v2/models/stats"),
    ]
    while not found or found[-1][0] != 200:
        for asked in paths[::-1]:
            try:
                found.append(await asyncio.to_thread(ask, *asked))
            except OSError:
                await asyncio.sleep(0.01)
        found = [each for each in found if each[0] != 200] + [each for each in found if each[0] == 200][-1:]
    return found


async def _asked_over_grpc(port: int) -> list[str]:
    found: list[str] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_reconnect_backoff_ms", 50)]) as channel:
        method = channel.unary_unary(f"/{pb.SERVICE}/ModelMetadata")
        asked = pb.ModelMetadataRequest(name="m149", version="1").SerializeToString()
        while not found or found[-1] != "OK":
            try:
                await method(asked, timeout=60, wait_for_ready=True)
                found.append("OK")
            except grpc.aio.AioRpcError as error:
                found.append(error.code().name)
    return found
