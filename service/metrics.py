"""Prometheus metrics of a service: requests, errors and durations by wire, route and model; requests in flight.

The hot path adds to plain numbers in cells that a tuple finds; prometheus_client sees them only when somebody scrapes.
`started` and `finished` are to be called on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import platform
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Protocol

from crossover import VERSION
from crossover.service import families
from crossover.transport import loop_admission
from crossover.transport.eager_start import waiting
from crossover.transport.release_guard import FAST_PATHS, installed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sized

    from prometheus_client.core import Metric

    from crossover.protocol.errors import Code
    from crossover.transport.memory_budget import MemoryBudget

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
"""Of what prometheus_client writes."""
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of the duration buckets in seconds: OpenTelemetry's for HTTP, with three finer ones below."""
_BOUND_NAMES = (*map(str, BOUNDS), "+Inf")
_MOST_MODELS = 1000
_LABELS = ("wire", "route", "model")
_TRITONS = re.compile(rb"^(# TYPE nv_inference_\w+) untyped$", re.MULTILINE)
"""Counters whose names Triton has made without `_total`, which the library writes wherever it says that something is one."""


class _Cell:
    """Durations of one (wire, route, model)."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * len(_BOUND_NAMES)
        self.seconds = 0.0


class Connections(Protocol):
    """A listener's counts of its connections."""

    @property
    def connections(self) -> Sized: ...

    refused_connections: int
    """Closed at once because too many were open."""
    timed_out: int
    """Ended because a head, a body or a reader of replies took too long."""


class Collector(Protocol):
    """What has metrics of its own."""

    def collect(self) -> Iterator[Metric]: ...


class Observer:
    """Counts what the endpoints of one service do."""

    def __init__(self, *, upstreams: bool = False) -> None:
        """`upstreams`: the service has some, so that requests and errors have the label `upstream` too."""
        self._has_upstreams = upstreams
        self._labels = (*_LABELS, "upstream") if upstreams else _LABELS
        self._collectors: list[Collector] = [self]
        self._cells: dict[tuple[str, str, str, str], _Cell] = {}
        self._errors: Counter[tuple[tuple[str, str, str, str], str]] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._models: set[str] = {""}
        self._timed = 0
        self._stages: defaultdict[str, float] = defaultdict(float)
        """Seconds of the timed requests."""
        self._listeners: list[tuple[str, Connections]] = []
        self._budget: MemoryBudget | None = None
        self.whole: Callable[[], Awaitable[bytes]] | None = None
        """Gives the metrics of all workers, this process being one (service/workers/scrape.py)."""

    def watch_connections(self, wire: str, listener: Connections) -> None:
        """Report a listener's connections too."""
        self._listeners.append((wire, listener))

    def watch_memory(self, budget: MemoryBudget) -> None:
        """Report how much of the budget for messages in flight is used."""
        self._budget = budget

    def register(self, collector: Collector) -> None:
        """Add a collector of the service's own (the engine's ``nv_inference_*``)."""
        self._collectors.append(collector)

    def started(self, wire: str) -> None:
        """A request over `wire` (rest, grpc) has begun."""
        self._in_flight[wire] += 1

    def finished(
        self, wire: str, route: str, model: str, code: Code | None, seconds: float, upstream: str = ""
    ) -> None:
        """The request is answered; `code` is None when it succeeded. `upstream` is a name of the registry.

        A model's name becomes a label only after its first success, so that made-up names make no time series.
        """
        self._in_flight[wire] -= 1
        if not self._has_upstreams:
            upstream = ""
        if model not in self._models:
            model = self._label(model, code)
        key = (wire, route, model, upstream)
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = _Cell()
        cell.buckets[bisect_left(BOUNDS, seconds)] += 1
        cell.seconds += seconds
        if code is not None:
            self._errors[key, code.name] += 1

    def timed(self, stages: Mapping[str, float]) -> None:
        """A request's time was measured: milliseconds of each of its stages."""
        self._timed += 1
        for stage, milliseconds in stages.items():
            self._stages[stage] += milliseconds / 1000

    def render(self) -> bytes:
        """All metrics of this process in Prometheus' text format (`CONTENT_TYPE`), from any thread."""
        return _TRITONS.sub(rb"\1 counter", families.text_of(self._collectors))

    async def rendered(self) -> bytes:
        """The same, made beside the event loop: a millisecond for each model that has been asked."""
        return await asyncio.to_thread(self.render)

    async def render_all(self) -> bytes:
        """Those of the whole service, where several processes are one."""
        await waiting()
        return await (self.rendered() if self.whole is None else self.whole())

    def collect(self) -> Iterator[Metric]:
        labels = self._labels
        requests = families.counter("crossover_requests", "Requests answered.", labels=labels)
        durations = families.histogram(
            "crossover_request_duration_seconds", "Time from a request's headers to its reply.", labels=labels
        )
        for key, cell in list(self._cells.items()):  # a copy, as the event loop goes on counting
            total, buckets = 0, []
            for bound, count in zip(_BOUND_NAMES, cell.buckets, strict=True):
                total += count
                buckets.append((bound, total))
            shown = key[: len(labels)]
            requests.add_metric(shown, total)
            durations.add_metric(shown, buckets, cell.seconds)
        errors = families.counter("crossover_errors", "Requests answered with an error.", labels=(*labels, "code"))
        for (key, code), count in list(self._errors.items()):
            errors.add_metric((*key[: len(labels)], code), count)
        in_flight = families.gauge("crossover_requests_in_flight", "Requests being answered.", labels=("wire",))
        for wire, count in list(self._in_flight.items()):
            in_flight.add_metric((wire,), count)
        yield from (requests, durations, errors, in_flight, _fast_paths(), _build(), _admission())
        if self._timed:
            yield from self._timing()
        if self._budget is not None:
            yield from _memory(self._budget)
        if self._listeners:
            yield from self._connections()

    def _timing(self) -> Iterator[Metric]:
        yield families.counter(
            "crossover_timed_requests", "Requests whose stages were timed: those that asked, and samples.", self._timed
        )
        stages = families.counter(
            "crossover_timed_stage_seconds", "Time of the timed requests by stage.", labels=("stage",)
        )
        for stage, seconds in list(self._stages.items()):
            stages.add_metric((stage,), seconds)
        yield stages

    def _connections(self) -> Iterator[Metric]:
        opened, refused, timed_out = Counter[str](), Counter[str](), Counter[str]()
        for wire, listener in self._listeners:
            opened[wire] += len(listener.connections)
            refused[wire] += listener.refused_connections
            timed_out[wire] += listener.timed_out
        gauge = families.gauge("crossover_connections", "Connections that are open.", labels=("wire",))
        refusals = families.counter(
            "crossover_connections_refused", "Connections closed because too many were open.", labels=("wire",)
        )
        late = families.counter(
            "crossover_connections_timed_out", "Connections ended because their client was too slow.", labels=("wire",)
        )
        for family, counts in ((gauge, opened), (refusals, refused), (late, timed_out)):
            for wire, count in counts.items():
                family.add_metric((wire,), count)
        yield from (gauge, refusals, late)

    def _label(self, model: str, code: Code | None) -> str:
        if code is not None or len(self._models) >= _MOST_MODELS:
            return ""
        self._models.add(model)
        return model


def _build() -> Metric:
    """The versions in this process; always 1, to be joined with other series by their labels."""
    versions = {"version": VERSION, "python": platform.python_version(), "grpcio": installed("grpcio")}
    gauge = families.gauge("crossover_build_info", "Versions of what runs here.", labels=tuple(versions))
    gauge.add_metric(tuple(versions.values()), 1)
    return gauge


def _admission() -> Metric:
    return families.counter(
        "crossover_admission_refused",
        "Requests that had waited too long for the event loop, and were refused at once.",
        loop_admission.refused(),
    )


def _memory(budget: MemoryBudget) -> Iterator[Metric]:
    yield families.gauge("crossover_in_flight_bytes", "Bytes of the messages in flight.", budget.used)
    yield families.gauge("crossover_in_flight_limit_bytes", "What they may have (MAX_IN_FLIGHT_BYTES).", budget.limit)


def _fast_paths() -> Metric:
    """Which uses of other libraries' private interfaces are on in this process."""
    gauge = families.gauge(
        "crossover_fast_path", "1: a private interface is used, as tested; 0: the public one instead.", labels=("name",)
    )
    for name, path in FAST_PATHS.items():
        gauge.add_metric((name,), path.on)
    return gauge
