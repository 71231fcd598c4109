"""`response_cache { enable: true }`: equal requests are answered without a run, within RESPONSE_CACHE_BYTES."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest
from prometheus_client.registry import CollectorRegistry

from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.metrics import EngineMetrics
from crossover.model_server.repository import Repository
from crossover.model_server.response_cache import key_of
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, RequestedOutput
from crossover.protocol.tensors import Tensor
from tests.graphs import adding_graph, echo_graph, save

CACHED = "response_cache { enable: true }\n"
JOINED = CACHED + "max_batch_size: 8\ndynamic_batching { }\n"


def floats(*values: float, name: str = "a") -> Tensor:
    return Tensor.from_array(name, np.array(values, "f4"))


class Served:
    """An engine whose repository is a folder of the test's."""

    def __init__(self, path, most_bytes: int = 1 << 20) -> None:
        self.path = path
        self.engine = Engine(Repository(path, "explicit"), Executor(), most_bytes)

    async def load(self, name: str, graph, config: str = CACHED) -> None:
        save(self.path, name, graph)
        (self.path / name / "config.pbtxt").write_text(config)
        if not self.engine.repository.started:
            await self.engine.repository.start()
        await self.engine.repository.load(name, {})

    async def ask(self, name: str, *inputs: Tensor, outputs: tuple[str, ...] = ()):
        request = InferRequest(name, list(inputs), outputs=[RequestedOutput(one) for one in outputs])
        return (await self.engine.infer(request, CallContext())).outputs

    async def counts(self, name: str) -> tuple[int, int, int]:
        """Hits, misses and runs, as the statistics say."""
        shown = (await self.engine.model_statistics(name, "", CallContext())).model_stats[0]
        stats = shown.inference_stats
        assert stats.success.count - stats.cache_hit.count == stats.compute_infer.count
        assert stats.success.count == stats.queue.count
        return stats.cache_hit.count, stats.cache_miss.count, shown.execution_count


@pytest.fixture
async def served(tmp_path):
    made = Served(tmp_path)
    yield made
    await made.engine.close()


async def test_equal_requests_run_once(served):
    """Values, shape, datatype, name, set of inputs and outputs decide; the order of inputs does not; the answers are right."""
    await served.load("m", adding_graph())
    for _ in range(2):
        (total, difference) = await served.ask("m", floats(1, 2), floats(5, name="b"))
        assert total.array.tolist() == [6, 7] and difference.array.tolist() == [-4, -3]
    assert await served.counts("m") == (1, 1, 1)
    await served.ask("m", floats(5, name="b"), floats(1, 2))
    assert await served.counts("m") == (2, 1, 1)
    (only,) = await served.ask("m", floats(1, 2), floats(5, name="b"), outputs=("difference",))
    assert only.name == "difference" and await served.counts("m") == (2, 2, 2)
    others = [[floats(1, 2), floats(6, name="b")], [floats(1, 2)], [floats(1, 2, 3), floats(5, name="b")]]
    for inputs in others:
        await served.ask("m", *inputs)
    assert await served.counts("m") == (2, 5, 5)


@pytest.mark.parametrize("datatype", ["FP32", "BF16", "BYTES", "INT64", "BOOL"])
async def test_kept_answers_are_the_model_s(served, datatype):
    """A kept answer has the datatype, shape and bytes of the one that was made; empty ones too."""
    await served.load("m", echo_graph(datatype))
    raw = {"BYTES": b"\2\0\0\0hi\0\0\0\0"}.get(
        datatype, bytes(2 * {"BF16": 2, "FP32": 4, "INT64": 8, "BOOL": 1}.get(datatype, 1))
    )
    for shape, data in (((1, 2), raw), ((0, 2), b"")):
        made, kept = [(await served.ask("m", Tensor.from_raw("x", datatype, shape, data)))[0] for _ in range(2)]
        assert (kept.name, kept.datatype, kept.shape, bytes(kept.raw)) == (made.name, made.datatype, shape, data)
    assert (await served.counts("m"))[:2] == (2, 2)


async def test_reload_and_unload_forget(served):
    """After a reload the model runs again, and nothing of it is kept after unload."""
    await served.load("m", adding_graph())
    await served.ask("m", floats(1))
    await served.load("m", adding_graph())
    await served.ask("m", floats(1))
    assert (await served.counts("m"))[0] == 0 and len(served.engine.cache) == 1
    await served.engine.repository.unload("m")
    assert len(served.engine.cache) == served.engine.cache.bytes == 0


async def test_memory_is_bounded_and_the_longest_unused_goes(tmp_path):
    """Never more bytes than the setting says; what was used last stays; an answer over the bound is not kept."""
    served = Served(tmp_path, 20_000)
    await served.load("m", echo_graph("FP32", ["n"]))
    for number in range(40):
        await served.ask("m", floats(*[number] * 500, name="x"))
        await served.ask("m", floats(*[0] * 500, name="x"))
        assert 0 < served.engine.cache.bytes <= 20_000
    hits = (await served.counts("m"))[0]
    assert hits >= 39
    await served.ask("m", floats(*[1] * 500, name="x"))
    assert (await served.counts("m"))[0] == hits, "it had been dropped"
    kept = len(served.engine.cache)
    await served.ask("m", Tensor.from_array("x", np.zeros(10_000, "f4")))
    assert len(served.engine.cache) == kept
    await served.engine.close()


async def test_nothing_is_kept_without_memory_or_without_the_field(tmp_path):
    """RESPONSE_CACHE_BYTES=0 keeps nothing, and a model that does not ask for it is not counted as missing."""
    served = Served(tmp_path, 0)
    await served.load("m", adding_graph())
    await served.load("n", adding_graph(), "")
    for name in ("m", "n") * 2:
        await served.ask(name, floats(1))
    assert await served.counts("m") == (0, 2, 2)
    assert await served.counts("n") == (0, 0, 2)
    await served.engine.close()


async def test_joined_runs_and_failures(served):
    """Requests that were run together are kept one by one, with their own rows only; failures are not kept."""
    await served.load("m", echo_graph("FP32"), JOINED)
    asked = [Tensor.from_array("x", np.full((1, 1000), number, "f4")) for number in range(8)]
    await asyncio.gather(*(served.ask("m", tensor) for tensor in asked))
    for tensor in asked:
        (made,) = await served.ask("m", tensor)
        assert np.array_equal(made.array, tensor.array)
    hits, misses, runs = await served.counts("m")
    assert (hits, misses) == (8, 8) and runs <= 8
    assert served.engine.cache.bytes < 8 * (4000 + 2048)
    for _ in range(2):
        with pytest.raises(InferenceError):
            await served.ask("m", floats(1, name="x"))
    assert (await served.counts("m"))[:2] == (8, 8)


async def test_metrics(served):
    """Triton's names say what the statistics say."""
    await served.load("m", adding_graph())
    for _ in range(3):
        await served.ask("m", floats(1))
    registry = CollectorRegistry()
    registry.register(EngineMetrics(served.engine))
    labels = {"model": "m", "version": "1"}
    shown = [registry.get_sample_value(f"nv_cache_num_{what}_per_model", labels) for what in ("hits", "misses")]
    assert shown == [2, 1]
    assert registry.get_sample_value("nv_inference_request_success", labels) == 3
    assert registry.get_sample_value("nv_inference_count", labels) == 1
    assert registry.get_sample_value("crossover_response_cache_entries") == 1


def test_keys_differ_where_requests_do():
    """No two requests that differ share a key, however their names and bytes are cut."""
    tensors = [
        Tensor.from_raw("a", "UINT8", (2,), b"\1\2"), Tensor.from_raw("a", "INT8", (2,), b"\1\2"),
        Tensor.from_raw("a", "UINT8", (1, 2), b"\1\2"), Tensor.from_raw("b", "UINT8", (2,), b"\1\2"),
        Tensor.from_raw("a", "UINT8", (1,), b"\1"), Tensor.from_raw("a", "UINT16", (1,), b"\1\2"),
    ]  # fmt: skip
    requests = [list(chosen) for size in (1, 2) for chosen in itertools.combinations(tensors, size)]
    keys = [key_of(inputs, outputs) for inputs in requests for outputs in (["y"], ["y", "z"], ["yz"], ["z", "y"])]
    assert len(set(keys)) == len(keys)
