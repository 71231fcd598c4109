"""When a cell's numbers may not be used: declared before measuring, applied to every arm alike.

A cell is invalid when the generator was the bottleneck (late or busy), when requests queued up for connections, or when
replies were wrong or missing. Noise does not make a cell invalid (the A/A pair shows what it does); it is printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.comparison.design import outcomes as out
from crossover.comparison.design.naming import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from numpy.typing import NDArray

    from crossover.comparison.analysis.measures import Bin

    Table: TypeAlias = NDArray[np.int64]

WRONG = "wrong answers"
LATE = {
    "p50": (0.5, 50.0, 0.05, out.DONE), "p90": (0.9, 200.0, 0.10, out.DONE), "p99": (0.99, 200.0, 0.10, out.DONE),
    "first_message": (0.5, 50.0, 0.05, out.FIRST),
}  # fmt: skip
"""For each percentile of latency, or of the time to a stream's first message, how late the generator may have been at the
same percentile: so many µs, or so large a share of that latency, whichever is more.
"""
BUSY_SHARE = 0.70
"""Share of one CPU that the generator may use."""
MEASURED = frozenset({"p50", "p90", "p99", "first_message", "per_message", "cpu", "client_cpu", "wire_bytes"})
CAPACITY = frozenset({"capacity"})
LATENCY = frozenset({"p50", "p90", "p99", "first_message", "per_message"})
WIRE_LATE_US, WIRE_LATE_SHARE = 50.0, 0.025
"""An emulated network may deliver half of its packets 50 µs late, or a fortieth of the round trip."""
QUEUED_SHARE = 0.05
QUEUED_NS = 1_000_000
"""At most one in twenty requests may wait over 1 ms for a free connection."""
ERROR_SHARE = 0.001
"""Share of requests that may fail; not one reply may be wrong."""


def _percent(share: float) -> str:
    return f"{plain(100 * share)}%"


_UNITS: dict[str, tuple[Callable[[float], str], str]] = {
    "share of requests": (_percent, "of requests"),
    "of one CPU": (_percent, "of one CPU"),
    "replies": (plain, "replies"),
    "µs": (lambda value: f"{plain(value)} µs", ""),
}
"""For each unit of a gate how a value is written, and what it is of."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One check of one arm in one cell."""

    name: str
    value: float
    limit: float
    unit: str
    passed: bool
    concerns: frozenset[str]
    """Metrics that may not be used when it is not passed."""


def gates(bins: list[Bin], closed_loop: bool = False, round_trip_ms: float | None = None) -> list[Gate]:
    """Every check over the blocks of one arm in one cell; `round_trip_ms` is that of an emulated network."""
    table = np.concatenate([found.requests for found in bins])
    found = [_wrong(table), _errors(table), _busy(bins)]
    if round_trip_ms is not None:
        found.append(_wire(bins, round_trip_ms))
    return (
        found
        if closed_loop
        else [
            *found,
            *(_late(table, by_generator(bins), metric) for metric in LATE if LATE[metric][3] < table.shape[1]),
            _queued(table),
        ]
    )


def amount(values: list[float], unit: str) -> str:
    """Values of one gate with their unit, as a sentence says them: "15.7% to 36.7% of requests"."""
    _, noun = _UNITS[unit]
    return limit(values, unit) + f" {noun}" * bool(noun)


def limit(values: list[float], unit: str) -> str:
    """The same without what a share is of."""
    write, _ = _UNITS[unit]
    return " to ".join(dict.fromkeys((write(min(values)), write(max(values)))))


def capacity_gates(searches: list[dict[str, Any]]) -> list[Gate]:
    """Whether a search for the capacity found the arm's limit and not the generator's."""
    busy = [tried[3] for item in searches for tried in item["tried"]]
    if not busy:
        return []
    most = max(busy)
    return [Gate("generator busy (capacity)", most, BUSY_SHARE, "of one CPU", most <= BUSY_SHARE, CAPACITY)]


def _wrong(table: Table) -> Gate:
    wrong = int((table[:, out.OUTCOME] == out.WRONG).sum())
    return Gate(WRONG, wrong, 0, "replies", wrong == 0, MEASURED)


def _errors(table: Table) -> Gate:
    share = float(np.isin(table[:, out.OUTCOME], (out.ERROR, out.BROKEN, out.UNANSWERED)).mean())
    return Gate("errors", share, ERROR_SHARE, "share of requests", share <= ERROR_SHARE, MEASURED)


def _busy(bins: list[Bin]) -> Gate:
    lines = [line for found in bins for line in found.lines]
    wall = max(1, sum(line.wall_ns for line in lines))
    most = max(len(line.generators) for line in lines)
    share = sum(line.cpu_ns["generator"] for line in lines) / wall
    if most:
        each = [
            sum(line.wall_ns * share for line in lines for share in line.generators[one : one + 1])
            for one in range(most)
        ]
        share = max(each) / wall
    return Gate("generator busy", share, BUSY_SHARE, "of one CPU", share <= BUSY_SHARE, LATENCY)


def _wire(bins: list[Bin], round_trip_ms: float) -> Gate:
    seen = [line.wire_late_us[0] for found in bins for line in found.lines if line.wire_late_us]
    late = float(np.median(seen)) if seen else 0.0
    limit = max(WIRE_LATE_US, WIRE_LATE_SHARE * round_trip_ms * 1000)
    return Gate("network late (median packet)", late, limit, "µs", late <= limit, LATENCY)


def by_generator(bins: list[Bin]) -> list[Table]:
    """The requests of each generator, where several shared the slices."""
    found: dict[int, list[Table]] = {}
    for bin_ in bins:
        for line, table in zip(bin_.lines, bin_.tables, strict=True):
            count = max(1, len(line.generators))
            for one in range(count):
                found.setdefault(one, []).append(table[one::count])
    return [np.concatenate(tables) for tables in found.values()]


def _late(table: Table, of_generators: list[Table], metric: str) -> Gate:
    """The latest generator's lateness."""
    p, microseconds, share, end = LATE[metric]
    late = max(float(np.quantile(own[:, out.WOKEN] - own[:, out.PLANNED], p)) for own in of_generators) / 1000
    good = table[table[:, out.OUTCOME] == out.OK]
    latency = float(np.quantile(good[:, end] - good[:, out.PLANNED], p)) / 1000 if len(good) else 0.0
    limit = max(microseconds, share * latency)
    return Gate(f"generator late ({metric})", late, limit, "µs", late <= limit, frozenset({metric}))


def _queued(table: Table) -> Gate:
    share = float((table[:, out.SENT] - table[:, out.WOKEN] > QUEUED_NS).mean())
    return Gate("queued for a connection", share, QUEUED_SHARE, "share of requests", share <= QUEUED_SHARE, LATENCY)
