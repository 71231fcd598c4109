"""Overload costs only the excess: refused at arrival by expected wait, fairly among models, and never begun too late."""

from __future__ import annotations

import asyncio
import time
from urllib.request import urlopen

import numpy as np
import pytest
from onnx import TensorProto, helper

from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.repository import Repository
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import Target, connect
from crossover.stack.services import ServiceProcess, free_ports
from tests.graphs import save

X = Tensor.from_array("x", np.ones((1, 16), "f4"))
SIZED = InferRequest("sized", [Tensor.from_array("x", np.ones(16, "u1")), Tensor.from_array("size", np.array([16]))])


def work(turns: int) -> InferRequest:
    return InferRequest("work", [X, Tensor.from_array("turns", np.array([turns]))])


@pytest.fixture
async def engine(root):
    engine = Engine(Repository(root / "models", "none"), Executor(workers=1))
    await engine.repository.start()
    yield engine
    await engine.close()


async def _turns_of(engine: Engine, seconds: float) -> int:
    """How many turns of `work` take about that long here and now."""
    turns = 50
    while True:
        began = time.monotonic()
        await engine.infer(work(turns), CallContext())
        taken = time.monotonic() - began
        if taken > seconds / 4:
            return max(1, int(turns * seconds / taken))
        turns *= 2


async def _codes(calls) -> list[Code | None]:
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(one, InferenceError) or not isinstance(one, BaseException) for one in outcomes)
    return [one.code if isinstance(one, InferenceError) else None for one in outcomes]


async def test_the_excess_is_refused_at_arrival(engine):
    """Of a burst, what is not expected to be answered in time is refused at once and tells when to come back."""
    burst, turns = 150, 500
    for _ in range(10):
        await engine.infer(work(turns), CallContext())
    began = time.monotonic()
    limit = burst / 3 * engine.repository.resolve("work", "").queue.times.expected(72).mean
    refused: list[tuple[float, InferenceError]] = []

    async def ask() -> bool:
        try:
            await engine.infer(work(turns), CallContext(began + limit))
            return True
        except InferenceError as error:
            refused.append((time.monotonic() - began, error))
            return False

    answered = sum(await asyncio.gather(*(ask() for _ in range(burst))))
    assert burst / 20 < answered < burst * 2 / 3
    early = [error for after, error in refused if error.code is Code.OVERLOADED and after < limit / 2]
    assert len(early) > burst / 4
    assert all(0 < error.retry_after < 10 * limit for error in early)
    assert len({error.retry_after for error in early}) > 10, "those refused at one moment would come back at one moment"


async def test_another_models_calls_wait_for_a_run_at_most(engine):
    """A long queue of one model delays another one's calls by the run under way, not by the queue."""
    turns = await _turns_of(engine, 0.02)
    await engine.infer(SIZED, CallContext())
    crowd = [asyncio.create_task(engine.infer(work(turns), CallContext())) for _ in range(50)]
    await asyncio.sleep(0)
    for _ in range(10):
        await engine.infer(SIZED, CallContext())
    assert sum(task.done() for task in crowd) < 25
    await asyncio.gather(*crowd)


async def test_first_calls_are_taken_and_corrected(engine):
    """Where nothing is known of a model all are taken; once its first run is over, those without a chance are told so."""
    until = time.monotonic() + 2.0
    turns = 2000
    codes = await _codes(engine.infer(work(turns), CallContext(until)) for _ in range(300))
    assert codes[0] is None
    assert codes.count(Code.OVERLOADED) > 100
    assert codes.count(Code.DEADLINE_EXCEEDED) <= 20, "they were left to wait for their deadline"


async def test_what_can_not_end_in_time_is_not_begun(engine):
    """A deadline nearer than a run takes is refused without a run, and tried again when that is old news."""
    for _ in range(40):
        engine.repository.resolve("work", "").queue.times.learn(72, 0.1)
    with pytest.raises(InferenceError) as caught:
        await engine.infer(work(1), CallContext(time.monotonic() + 0.05))
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert "takes about" in caught.value.message
    await asyncio.sleep(1.1)
    await engine.infer(work(1), CallContext(time.monotonic() + 0.05))
    assert (await engine.model_statistics("work", "", CallContext())).model_stats[0].execution_count == 1


@pytest.fixture
async def stuck(tmp_path, root):
    """A server process of two workers with `work`, and `endless`, whose runs never end (a convolution of length 0)."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"])],
        "endless",
        [value("x", TensorProto.FLOAT, [1, 1, "n"]), value("kernel", TensorProto.FLOAT, [1, 1, "k"])],
        [value("y", TensorProto.FLOAT, None)],
    )
    save(tmp_path, "endless", graph)
    (tmp_path / "work").symlink_to(root / "models" / "work")
    rest, grpc = free_ports(2)
    service = ServiceProcess(
        "model_server",
        {
            "MODEL_REPOSITORY": str(tmp_path), "MODEL_SERVER_HTTP_PORT": str(rest), "MODEL_SERVER_GRPC_PORT": str(grpc),
            "MODEL_WORKERS": "2", "DRAIN_SECONDS": "0", "GRACE_SECONDS": "60",
        },
        ("127.0.0.1", rest),
    )  # fmt: skip
    await asyncio.to_thread(service.await_ready)
    client = connect("rest", Target(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{rest}"))
    yield service, client, rest
    await client.close()
    service.kill()


ENDLESS = InferRequest(
    "endless",
    [Tensor.from_array("x", np.ones((1, 1, 8), "f4")), Tensor.from_array("kernel", np.ones((1, 1, 0), "f4"))],
)


async def _refusal(client, request: InferRequest, seconds: float = 1.0) -> InferenceError:
    with pytest.raises(InferenceError) as caught:
        await client.infer(request, CallContext(time.monotonic() + seconds))
    return caught.value


def _metrics(port: int) -> str:
    return urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()


async def test_runs_that_never_end(stuck):
    """One call after the other: they do not get the last worker, other models go on, and the server stops well."""
    service, client, port = stuck
    assert (await _refusal(client, ENDLESS, 0.3)).code is Code.DEADLINE_EXCEEDED
    while "crossover_workers_stuck 1.0" not in await asyncio.to_thread(_metrics, port):
        await asyncio.sleep(0.05)  # the server's clock for the call may run out after the caller's
    while (error := await _refusal(client, ENDLESS, 0.3)).code is not Code.UNAVAILABLE:
        # it waits for the run before, which could still end
        assert error.code in {Code.DEADLINE_EXCEEDED, Code.OVERLOADED}
    assert "last one is left to other models" in error.message
    assert "crossover_workers_stuck 1.0" in await asyncio.to_thread(_metrics, port)
    await client.infer(work(1), CallContext(time.monotonic() + 5))
    assert await client.server_ready(CallContext(time.monotonic() + 5))
    assert await asyncio.to_thread(service.stop, 40) == 0, "it waited for the grace period, and was killed"


async def test_every_worker_held(stuck):
    """Calls at once that never end make the server unready with 503, not 504 for ever; stopping it is quick and clean."""
    service, client, _ = stuck
    errors = await asyncio.gather(*(_refusal(client, ENDLESS, 0.3) for _ in range(2)))
    assert {error.code for error in errors} == {Code.DEADLINE_EXCEEDED}
    while await client.server_ready(CallContext(time.monotonic() + 5)):
        await asyncio.sleep(0.05)
    error = await _refusal(client, work(1))
    assert error.code is Code.UNAVAILABLE
    assert "'endless' that do not end" in error.message
    assert await client.server_live(CallContext(time.monotonic() + 5))
    assert await asyncio.to_thread(service.stop, 40) == 0, "it waited for the grace period, and was killed"
