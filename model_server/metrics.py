"""Triton's `nv_inference_*` metrics from the engine's statistics; names without `_total`, as Triton's are.

The Prometheus library writes `_total` behind the name of a counter wherever it says its type, so what counts here is
declared without a type: the name that is declared is then the name of the samples. `service.metrics` says the type of the
`nv_inference_*` ones again; the others stay untyped, which is what linters ask of a counter without `_total`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from crossover.model_server.engine import Engine
from crossover.model_server.model import LoadedVersion
from crossover.model_server.served import ServedVersion
from crossover.service import families

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_COUNTERS: tuple[tuple[str, str, Callable[[ServedVersion], float]], ...] = (
    ("nv_inference_request_success", "Requests that succeeded", lambda one: one.statistics.success.count),
    ("nv_inference_count", "Inferences (rows of a batch)", lambda one: one.statistics.rows),
    ("nv_inference_exec_count", "Runs of the model", lambda one: one.statistics.execution_count),
    (
        "nv_inference_request_duration_us",
        "Time of whole requests",
        lambda one: one.statistics.success.ns // 1000,
    ),
    ("nv_inference_queue_duration_us", "Time requests waited", lambda one: one.statistics.queue // 1000),
    (
        "nv_inference_compute_input_duration_us",
        "Time of preparing inputs",
        lambda one: one.statistics.compute_input // 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Time of running the model",
        lambda one: one.statistics.compute_infer // 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "Time of taking outputs",
        lambda one: one.statistics.compute_output // 1000,
    ),
    (
        "nv_cache_num_hits_per_model",
        "Requests answered from the response cache",
        lambda one: one.statistics.cache_hit.count,
    ),
    (
        "nv_cache_num_misses_per_model",
        "Requests that the response cache had no answer to",
        lambda one: one.statistics.cache_miss.count,
    ),
    (
        "nv_cache_hit_duration_per_model",
        "Microseconds of looking answers up that were there",
        lambda one: one.statistics.cache_hit.ns // 1000,
    ),
    (
        "nv_cache_miss_duration_per_model",
        "Microseconds of looking up and keeping answers that were not there",
        lambda one: one.statistics.cache_miss.ns // 1000,
    ),
)
_GAUGES: tuple[tuple[str, str, Callable[[Engine, LoadedVersion], float]], ...] = (
    ("crossover_model_queue_length", "Requests that wait for a worker", lambda _, one: len(one.queue)),
    (
        "crossover_model_expected_wait_seconds",
        "Time that a request would wait which came now",
        lambda engine, one: engine.executor.expected_wait(one),
    ),
)


class EngineMetrics:
    """Reads the statistics when somebody scrapes; nothing is added to the way of a request."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        shown = list(self._engine.repository.loaded())
        for name, text, value in _COUNTERS:
            yield _family(name, text, "unknown", [(_labels(version), value(version)) for version in shown])
        yield _family(
            "nv_inference_request_failure", "Requests that failed, by reason", "unknown",
            [
                ({**_labels(version), "reason": reason.value}, duration.count)
                for version in shown for reason, duration in list(version.statistics.failures.items())
            ],
        )  # fmt: skip
        pending = [(_labels(version), version.pending) for version in shown]
        yield _family("nv_inference_pending_request_count", "Requests that wait or run", "gauge", pending)
        models = [version for version in shown if isinstance(version, LoadedVersion)]
        for name, text, gauge in _GAUGES:
            yield _family(name, text, "gauge", [(_labels(version), gauge(self._engine, version)) for version in models])
        isolated = [(version, version.queue.isolated) for version in models if version.queue.isolated is not None]
        yield _family(
            "crossover_model_worker_processes", "Processes that run an isolated model", "gauge",
            [(_labels(version), session.live) for version, session in isolated],
        )  # fmt: skip
        lost = families.counter(
            "crossover_model_workers_lost",
            "Processes of an isolated model that a run ended",
            labels=("model", "version"),
        )
        for version, session in isolated:
            lost.add_metric((version.name, version.version), session.lost)
        yield lost
        cache = self._engine.cache
        yield _family("crossover_response_cache_bytes", "Bytes of kept answers", "gauge", [({}, cache.bytes)])
        yield _family("crossover_response_cache_entries", "Kept answers", "gauge", [({}, len(cache))])
        held = self._engine.executor.held
        yield _family(
            "crossover_workers_stuck", "Workers whose runs go on although they were to stop", "gauge", [({}, held)]
        )
        workers = self._engine.executor.workers
        yield _family("crossover_workers", "Workers that run models", "gauge", [({}, workers)])


def _family(name: str, text: str, kind: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
    metric = families.bare(name, text, kind)
    for labels, value in samples:
        metric.add_sample(name, labels, value)
    return metric


def _labels(version: ServedVersion) -> dict[str, str]:
    return {"model": version.name, "version": version.version}
