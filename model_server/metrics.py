"""Triton's `nv_inference_*` metrics from the engine's statistics; names without `_total`, as Triton's are.

The Prometheus library writes `_total` behind the name of a counter wherever it says its type, so what counts here is
declared without a type: the name that is declared is then the name of the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from crossover.model_server.model import LoadedVersion
from crossover.model_server.repository import Repository

_COUNTERS: tuple[tuple[str, str, Callable[[LoadedVersion], float]], ...] = (
    ("nv_inference_request_success", "Requests that succeeded", lambda one: one.statistics.total("success").count),
    ("nv_inference_count", "Inferences (rows of a batch)", lambda one: one.statistics.inference_count),
    ("nv_inference_exec_count", "Runs of the model", lambda one: one.statistics.execution_count),
    (
        "nv_inference_request_duration_us",
        "Time of whole requests",
        lambda one: one.statistics.total("success").ns // 1000,
    ),
    ("nv_inference_queue_duration_us", "Time requests waited", lambda one: one.statistics.total("queue").ns // 1000),
    (
        "nv_inference_compute_input_duration_us",
        "Time of preparing inputs",
        lambda one: one.statistics.total("compute_input").ns // 1000,
    ),
    (
        "nv_inference_compute_infer_duration_us",
        "Time of running the model",
        lambda one: one.statistics.total("compute_infer").ns // 1000,
    ),
    (
        "nv_inference_compute_output_duration_us",
        "Time of taking outputs",
        lambda one: one.statistics.total("compute_output").ns // 1000,
    ),
)
_FAILURES: tuple[tuple[str, Callable[[LoadedVersion], int]], ...] = (
    ("REJECTED", lambda one: one.statistics.rejected),
    ("CANCELED", lambda one: one.statistics.cancelled),
    ("OTHER", lambda one: one.statistics.fail.count - one.statistics.rejected - one.statistics.cancelled),
)


class EngineMetrics(Collector):
    """Reads the statistics when somebody scrapes; nothing is added to the way of a request."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def collect(self) -> Iterator[Metric]:
        shown = list(self._repository.loaded())
        for name, text, value in _COUNTERS:
            metric = Metric(name, text, "unknown")
            for one in shown:
                metric.add_sample(name, _labels(one), value(one))
            yield metric
        failures = Metric("nv_inference_request_failure", "Requests that failed, by reason", "unknown")
        for one in shown:
            for reason, count in _FAILURES:
                failures.add_sample(failures.name, {**_labels(one), "reason": reason}, count(one))
        yield failures
        pending = Metric("nv_inference_pending_request_count", "Requests that wait or run", "gauge")
        for one in shown:
            pending.add_sample(pending.name, _labels(one), one.pending)
        yield pending


def _labels(one: LoadedVersion) -> dict[str, str]:
    return {"model": one.name, "version": one.version}
