"""Batched answers equal single ones; only models that ask for it are batched; the statistics tell the truth."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import uvloop
from onnx import TensorProto, helper

from crossover.model_server.config import from_text
from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.model_error import ModelError
from crossover.model_server.queue_policy import QueuePolicy
from crossover.model_server.repository import Repository
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from tests.graphs import echo_graph, save

CONFIG = "max_batch_size: 64\ndynamic_batching { }"


def slow_graph(last: str) -> onnx.GraphProto:
    """2000 turns of x -> x * 1, so that runs take long enough to overlap; then `last` of the rows."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes_on"]), helper.make_node("Mul", ["state", "one"], ["next"])],
        "turn",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, ["n", 2]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["n", 2]),
        ],
    )
    attributes = {"axes": [0], "keepdims": 1} if last == "ReduceMean" else {}
    return helper.make_graph(
        [
            helper.make_node("Loop", ["turns", "yes", "x"], ["z"], body=body),
            helper.make_node(last, ["z"], ["y"], **attributes),
        ],
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", 2])],
        [
            onnx.numpy_helper.from_array(np.array(2000, np.int64), "turns"),
            onnx.numpy_helper.from_array(np.array(True), "yes"),
            onnx.numpy_helper.from_array(np.array(1, np.float32), "one"),
        ],
    )


@pytest.fixture
async def batching(tmp_path):
    """`asked` has dynamic_batching, `silent` has not, `mean` has it although its rows interact."""
    for name, last in (("asked", "Sqrt"), ("silent", "Sqrt"), ("mean", "ReduceMean")):
        save(tmp_path, name, slow_graph(last))
        if name != "silent":
            (tmp_path / name / "config.pbtxt").write_text(CONFIG)
    engine = await started(tmp_path)
    yield engine
    await engine.close()


@pytest.fixture
async def alone(tmp_path, batching):
    """The same models where nothing is joined (MODEL_BATCHING=0)."""
    engine = await started(tmp_path, join=False)
    yield engine
    await engine.close()


async def started(repository: Path, *, join: bool = True) -> Engine:
    engine = Engine(Repository(repository, "none", options=RuntimeOptions(join=join)), Executor())
    await engine.repository.start()
    return engine


def request(model: str, rows: np.ndarray) -> InferRequest:
    return InferRequest(model, [Tensor.from_array("x", rows)])


async def many(inference, model: str, count: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    inputs = [rng.random((1 + number % 3, 2), dtype="f4") for number in range(count)]
    answers = await asyncio.gather(*(inference.infer(request(model, rows), CallContext()) for rows in inputs))
    return [answer.output("y").array for answer in answers]


async def statistics(inference, model: str):
    return (await inference.model_statistics(model, "", CallContext())).model_stats[0]


async def test_batched_answers_equal_single_ones(batching, alone):
    """Requests run together answer as they would alone, within 1e-5 relative, and are counted as what they were."""
    together = await many(batching, "asked")
    counted = await statistics(batching, "asked")
    single = await many(alone, "asked")
    for a, b in zip(together, single, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert counted.inference_stats.success.count == 16
    assert counted.inference_count == sum(1 + number % 3 for number in range(16))
    assert counted.execution_count < 16
    assert sum(size.batch_size * size.compute_infer.count for size in counted.batch_stats) == counted.inference_count


async def test_a_model_that_does_not_ask_is_not_batched(batching):
    """Without dynamic_batching every request is a run of its own, whatever its shape."""
    await many(batching, "silent")
    assert (await statistics(batching, "silent")).execution_count == 16


async def test_a_model_whose_rows_interact_answers_right(batching, alone):
    """Where the configuration is wrong about the model, the answers are still each request's own."""
    together = await many(batching, "mean")
    single = await many(alone, "mean")
    for a, b in zip(together, single, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("delay", [1, 100, 900, 1400, 2600])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_request_alone_waits_no_longer_than_the_delay(tmp_path, delay, run):
    """On every event loop: uvloop's timers count in milliseconds and may come before the delay is over."""
    save(tmp_path, "m", echo_graph("FP32"))
    (tmp_path / "m" / "config.pbtxt").write_text(
        f"max_batch_size: 8 dynamic_batching {{ max_queue_delay_microseconds: {delay} }}"
    )

    async def main() -> None:
        engine = Engine(Repository(tmp_path, "none"), Executor(1))
        await engine.repository.start()
        for _ in range(20):
            tensor = Tensor.from_array("x", np.ones((1, 2), "f4"))
            await engine.infer(InferRequest("m", [tensor]), CallContext(time.monotonic() + 5))
        await engine.close()

    run(main())


async def test_a_preferred_size_does_not_wait_for_more(tmp_path):
    """With as many rows as the smallest preferred size a run begins at once."""
    save(tmp_path, "m", echo_graph("FP32"))
    (tmp_path / "m" / "config.pbtxt").write_text(
        "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 4, 2 ] max_queue_delay_microseconds: 60000000 }"
    )
    engine = Engine(Repository(tmp_path, "none"), Executor(1))
    await engine.repository.start()
    request = InferRequest("m", [Tensor.from_array("x", np.ones((1, 2), "f4"))])
    async with asyncio.timeout(30):
        await asyncio.gather(*(engine.infer(request, CallContext()) for _ in range(2)))
        await engine.infer(InferRequest("m", [Tensor.from_array("x", np.ones((2, 2), "f4"))]), CallContext())
    await engine.close()


@pytest.mark.parametrize("sizes", ["0", "-1", "9", "4, 9"])
def test_a_preferred_size_is_one_that_can_be(sizes):
    """From 1 to max_batch_size, as in Triton."""
    text = f"max_batch_size: 8 dynamic_batching {{ preferred_batch_size: [ {sizes} ] }}"
    with pytest.raises(ModelError, match=r"preferred_batch_size is \[.*\]; it takes sizes from 1 to max_batch_size, 8"):
        QueuePolicy.of(from_text(text, "m"))
