"""Counting is what callers saw: after any mix of right and wrong requests, statistics, metrics and answers agree."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import numpy as np
import pytest
from prometheus_client.registry import CollectorRegistry

from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.metrics import EngineMetrics
from crossover.model_server.repository import Repository
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from tests.graphs import save
from tests.model_server.test_batching import slow_graph

CONFIG = "max_batch_size: 64\ndynamic_batching { priority_levels: 2 default_priority_level: 2 %s }"
SMALL_QUEUE = "default_queue_policy { max_queue_size: 3 }"


def _rows(rng: random.Random, columns: int = 2) -> Tensor:
    return Tensor.from_array("x", np.ones((rng.randint(1, 3), columns), "f4"))


def right(rng: random.Random) -> tuple[InferRequest, float]:
    return InferRequest("m", [_rows(rng)], parameters={"priority": rng.randint(0, 3)}), 60.0


def hasty(rng: random.Random) -> tuple[InferRequest, float]:
    return InferRequest("m", [_rows(rng)]), rng.choice([-1.0, 0.0, 0.001, 0.01])


def misshapen(rng: random.Random) -> tuple[InferRequest, float]:
    return InferRequest("m", [_rows(rng, 3)]), 60.0


def odd_priority(rng: random.Random) -> tuple[InferRequest, float]:
    return InferRequest("m", [_rows(rng)], parameters={"priority": -1}), 60.0


KINDS = {right: 8, hasty: 2, misshapen: 1, odd_priority: 1}


@pytest.mark.parametrize("seed", range(6))
async def test_random_mixes(tmp_path, seed):
    """Successes, rows, and failures by reason are what the callers were told; each request counts once, joined or not."""
    rng = random.Random(seed)
    save(tmp_path, "m", slow_graph(rng.choice(["Sqrt", "ReduceMean"])))
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG % rng.choice(["", SMALL_QUEUE]))
    engine = Engine(Repository(tmp_path, "none"), Executor(workers=rng.randint(1, 3)))
    await engine.repository.start()
    told: Counter[str] = Counter()
    rows = 0

    async def ask() -> None:
        nonlocal rows
        await asyncio.sleep(rng.random() * 0.2)
        request, seconds = rng.choices(list(KINDS), list(KINDS.values()))[0](rng)
        until = time.monotonic() + seconds
        call = asyncio.create_task(engine.infer(request, CallContext(until)))
        if rng.random() < 0.1:
            asyncio.get_running_loop().call_later(rng.random() * 0.05, call.cancel)
        try:
            await call
        except asyncio.CancelledError:
            # one that goes after its deadline is late, as far as the server can tell
            told["CANCELED" if time.monotonic() < until else Code.DEADLINE_EXCEEDED.name] += 1
        except InferenceError as error:
            told[error.code.name] += 1
        else:
            told["success"] += 1
            rows += request.inputs[0].shape[0]

    await asyncio.gather(*(ask() for _ in range(150)))
    while engine.executor.pending:  # a run whose caller has gone ends at its next operator
        await asyncio.sleep(0.01)
    shown = (await engine.model_statistics("m", "", CallContext())).model_stats[0]
    registry = CollectorRegistry()
    registry.register(EngineMetrics(engine))
    labels = {"model": "m", "version": "1"}
    failures = {
        reason: registry.get_sample_value("nv_inference_request_failure", {**labels, "reason": reason})
        for reason in ("REJECTED", "CANCELED", "BACKEND", "OTHER")
    }
    assert told["success"] == shown.inference_stats.success.count
    assert told["success"] == registry.get_sample_value("nv_inference_request_success", labels)
    assert rows == shown.inference_count == registry.get_sample_value("nv_inference_count", labels)
    assert sum(failures.values()) == shown.inference_stats.fail.count == told.total() - told["success"]
    assert failures["OTHER"] == told[Code.INVALID_ARGUMENT.name]
    assert failures["BACKEND"] == 0
    late = told[Code.DEADLINE_EXCEEDED.name]
    assert told[Code.OVERLOADED.name] <= failures["REJECTED"] <= told[Code.OVERLOADED.name] + late
    assert told["CANCELED"] <= failures["CANCELED"] <= told["CANCELED"] + late
    assert shown.execution_count == sum(size.compute_infer.count for size in shown.batch_stats)
    assert registry.get_sample_value("nv_inference_pending_request_count", labels) == 0
    assert registry.get_sample_value("crossover_model_queue_length", labels) == 0
    await engine.close()
