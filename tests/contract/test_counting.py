"""Over every wire at once, statistics, metrics and log agree with what callers saw after any mix of right and wrong requests."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from crossover.endpoints.grpc.servicer import GrpcOptions
from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.serve import RestListener
from crossover.endpoints.rest.types import RestOptions
from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.metrics import EngineMetrics
from crossover.model_server.repository import Repository
from crossover.model_server.server import GRPC_LIBRARIES, grpc_listener
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import Target, connect
from crossover.service.metrics import Observer
from tests.graphs import save

WIRES = ("grpc", "grpc-lean", "grpc-stream", "rest", "rest-binary", "rest-protobuf")
REQUESTS = 250
ASKED = ("grpc", "ServerLive")
"""What grpcio's channel asks of its own accord when nothing came for some seconds (transport/silence.py)."""
ENSEMBLE = """platform: "ensemble" max_batch_size: 8
input { name: "x" data_type: TYPE_INT64 dims: 1 }
output { name: "y" data_type: TYPE_INT64 dims: 1 }
ensemble_scheduling { step [
  { model_name: "cached" input_map { key: "x" value: "x" } output_map { key: "y" value: "half" } },
  { model_name: "joined" input_map { key: "x" value: "half" } output_map { key: "y" value: "y" } }
] }
"""
CONFIGS = {
    "plain": "max_batch_size: 8",
    "joined": "max_batch_size: 8 dynamic_batching { max_queue_delay_microseconds: 300 }",
    "cached": "max_batch_size: 8 response_cache { enable: true }",
    "both": "max_batch_size: 8 response_cache { enable: true } dynamic_batching { }",
}
PARTS = {"pair": ("cached", "joined")}


def picky_graph():
    """y = x for 0 to 9; a run with anything else fails."""
    value = helper.make_tensor_value_info
    return helper.make_graph(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        "picky",
        [value("x", TensorProto.INT64, ["n", 1])],
        [value("y", TensorProto.INT64, ["n", 1])],
        [numpy_helper.from_array(np.arange(10, dtype=np.int64), "table")],
    )


def drawn(rng: random.Random) -> tuple[InferRequest, str]:
    """A request, and how it is meant to end."""
    model = rng.choice([*CONFIGS, "pair", "pair"])
    values = [[rng.randrange(10)] for _ in range(rng.randint(1, 3))]
    kind = rng.choices(["right", "fails", "misshapen", "unknown", "version", "parameter"], [12, 2, 1, 1, 1, 1])[0]
    if kind == "fails":
        values[-1] = [rng.choice([10, 99, -11])]
    request = InferRequest(model, [Tensor.from_array("x", np.array(values))])
    if kind == "misshapen":
        request.inputs = [Tensor.from_array("x", np.ones((1, 2), np.int64))]
    elif kind == "unknown":
        request.model_name = "nobody"
    elif kind == "version":
        request.model_version = "7"
    elif kind == "parameter":
        request.parameters = {"triton_odd": 1}
    return request, kind


class Told:
    """What the callers were told."""

    def __init__(self) -> None:
        self.success: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.failed: Counter[tuple[str, str]] = Counter()
        """By model and reason."""
        self.codes: Counter[tuple[str, str]] = Counter()
        """Errors by kind of wire and code."""
        self.requests: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()


async def ask(client, wire: str, request: InferRequest, kind: str, told: Told) -> None:
    over = wire.partition("-")[0]
    told.requests[over] += 1
    rows, status = request.inputs[0].shape[0], 200
    try:
        answer = await client.infer(request, CallContext())
        assert answer.outputs[0].array.tolist() == request.inputs[0].array.tolist() and kind == "right"
    except InferenceError as error:
        told.codes[over, error.code.name] += 1
        status = error.code.status.http
        _note_failure(told, request, kind, error.code)
    else:
        for name in (request.model_name, *PARTS.get(request.model_name, ())):
            told.success[name] += 1
            told.rows[name] += rows
    if over == "rest":
        told.statuses[status] += 1


def _note_failure(told: Told, request: InferRequest, kind: str, code: Code) -> None:
    if kind in {"unknown", "version"}:
        assert code is Code.NOT_FOUND
        return
    assert code is Code.INVALID_ARGUMENT and kind in {"fails", "misshapen", "parameter"}
    reason = "BACKEND" if kind == "fails" else "OTHER"
    told.failed[request.model_name, reason] += 1
    if request.model_name in PARTS and kind == "fails":
        told.failed[PARTS[request.model_name][0], reason] += 1


@pytest.mark.parametrize("library", list(GRPC_LIBRARIES))
@pytest.mark.parametrize("seed", range(3))
async def test_random_mixes_over_every_wire(tmp_path, caplog, seed, library):
    """Each request is one success or one failure, of its reason, everywhere; an ensemble's are its parts' too; no run is twice."""
    rng = random.Random(seed)
    for name, config in CONFIGS.items():
        save(tmp_path, name, picky_graph())
        (tmp_path / name / "config.pbtxt").write_text(config)
    (tmp_path / "pair" / "1").mkdir(parents=True)
    (tmp_path / "pair" / "config.pbtxt").write_text(ENSEMBLE)
    engine, observer, told = Engine(Repository(tmp_path, "none"), Executor(2)), Observer(), Told()
    observer.register(EngineMetrics(engine))
    await engine.repository.start()
    grpc = grpc_listener(library)(engine, "127.0.0.1", 0, options=GrpcOptions(), observer=observer)
    app = OipRest(lambda _: (None, engine), settings=RestOptions(), observer=observer)
    rest = RestListener(app, "127.0.0.1", 0, access_log=True)
    caplog.set_level("INFO", "crossover.access")
    for listener in (grpc, rest):
        await listener.start()
    target = Target(f"127.0.0.1:{grpc.port}", f"http://127.0.0.1:{rest.port}")
    clients = {wire: connect(wire, target) for wire in WIRES}

    async def later() -> None:
        await asyncio.sleep(rng.random() * 0.3)
        wire = rng.choice(WIRES)
        await ask(clients[wire], wire, *drawn(rng), told)

    await asyncio.gather(*(later() for _ in range(REQUESTS)))
    for name in ("cached", "both"):  # a mix whose like requests all ran at once has no hit of its own
        for wire in rng.sample(list(WIRES), 2):
            await ask(clients[wire], wire, InferRequest(name, [Tensor.from_array("x", np.array([[1]]))]), "right", told)
    for client in clients.values():
        await client.close()
    for listener in (grpc, rest):
        await listener.stop(5)
    shown = {one.name: one for one in (await engine.model_statistics("", "", CallContext())).model_stats}
    metrics = _metrics(observer.render().decode())
    for name in (*CONFIGS, "pair"):
        _check_model(name, shown[name], metrics, told)
    requests: Counter[str] = Counter()
    for key, value in metrics["crossover_requests_total"]:
        if (key["wire"], key["route"]) != ASKED:
            requests[key["wire"]] += int(value)
    assert requests == told.requests
    errors: Counter[tuple[str, str]] = Counter()
    for key, value in metrics["crossover_errors_total"]:
        errors[key["wire"], key["code"]] += int(value)
    assert errors == told.codes
    lines = [record.getMessage() for record in caplog.records if record.name == "crossover.access"]
    assert Counter(int(line.rpartition(" ")[2]) for line in lines) == told.statuses
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
    await engine.close()


def _check_model(name: str, shown, metrics, told: Told) -> None:
    statistics = shown.inference_stats
    assert statistics.success.count == told.success[name] == _value(metrics, "nv_inference_request_success", name)
    failures = {
        key["reason"]: int(value)
        for key, value in metrics["nv_inference_request_failure"]
        if key["model"] == name and value
    }
    assert failures == {reason: count for (model, reason), count in told.failed.items() if model == name}
    assert statistics.fail.count == sum(failures.values())
    hits, misses = statistics.cache_hit.count, statistics.cache_miss.count
    assert hits == _value(metrics, "nv_cache_num_hits_per_model", name)
    assert misses == _value(metrics, "nv_cache_num_misses_per_model", name)
    if name in {"cached", "both"}:
        assert hits + misses == statistics.success.count and hits
        assert shown.inference_count < told.rows[name]
    else:
        assert hits == misses == 0
        assert shown.inference_count == told.rows[name] == _value(metrics, "nv_inference_count", name)
    runs = sum(size.compute_infer.count for size in shown.batch_stats)
    assert shown.execution_count == runs == _value(metrics, "nv_inference_exec_count", name)
    assert sum(size.batch_size * size.compute_infer.count for size in shown.batch_stats) == shown.inference_count
    assert _value(metrics, "nv_inference_pending_request_count", name) == 0


_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


def _metrics(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for name, labels, value in _SAMPLE.findall(text):
        found.setdefault(name, []).append((dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)))
    return found


def _value(metrics, family: str, model: str) -> float:
    return next(value for labels, value in metrics[family] if labels.get("model") == model)
