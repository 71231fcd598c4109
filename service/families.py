"""Metric families of prometheus_client, whose import waits for the first scrape: a service that nobody scrapes does without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric


def counter(
    name: str, text: str, value: float | None = None, labels: Sequence[str] | None = None
) -> CounterMetricFamily:
    from prometheus_client import core

    return core.CounterMetricFamily(name, text, value, labels)


def gauge(name: str, text: str, value: float | None = None, labels: Sequence[str] | None = None) -> GaugeMetricFamily:
    from prometheus_client import core

    return core.GaugeMetricFamily(name, text, value, labels)


def histogram(name: str, text: str, labels: Sequence[str]) -> HistogramMetricFamily:
    from prometheus_client import core

    return core.HistogramMetricFamily(name, text, labels=labels)


def bare(name: str, text: str, kind: str) -> Metric:
    """A family whose samples get their names as they are added."""
    from prometheus_client import core

    return core.Metric(name, text, kind)


def text_of(collectors: Sequence[Any]) -> bytes:
    """What the collectors give, and the process's own metrics, in Prometheus' text format."""
    from prometheus_client.exposition import generate_latest
    from prometheus_client.process_collector import ProcessCollector
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    for collector in collectors:
        registry.register(collector)
    ProcessCollector(registry=registry)
    return generate_latest(registry)
