"""When a cell's numbers may not be used: declared before measuring, applied to every arm alike.

A cell is invalid when the generator was the bottleneck (late or busy), when requests queued up for connections, or when
replies were wrong or missing. Noise does not make a cell invalid (the A/A pair shows what it does); it is printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from comparison import outcomes as out

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from comparison.measures import Bin

    Table: TypeAlias = NDArray[np.int64]

LATE_US = 200.0
LATE_SHARE = 0.10
"""The generator's own lateness, at its 99th percentile, may be 200 µs or a tenth of the median latency."""
BUSY_SHARE = 0.70
"""Share of one CPU that the generator may use."""
QUEUED_SHARE = 0.05
QUEUED_NS = 1_000_000
"""At most one in twenty requests may wait over 1 ms for a free connection."""
ERROR_SHARE = 0.001
"""Share of requests that may fail; not one reply may be wrong."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One check of one arm in one cell."""

    name: str
    value: float
    limit: float
    unit: str
    passed: bool


def gates(bins: list[Bin], closed_loop: bool = False) -> list[Gate]:
    """Every check over the blocks of one arm in one cell."""
    table = np.concatenate([found.requests for found in bins])
    found = [_wrong(table), _errors(table), _busy(bins)]
    return found if closed_loop else [*found, _late(table), _queued(table)]


def _wrong(table: Table) -> Gate:
    wrong = int((table[:, out.OUTCOME] == out.WRONG).sum())
    return Gate("wrong answers", wrong, 0, "replies", wrong == 0)


def _errors(table: Table) -> Gate:
    share = float(np.isin(table[:, out.OUTCOME], (out.ERROR, out.BROKEN, out.UNANSWERED)).mean())
    return Gate("errors", share, ERROR_SHARE, "share of requests", share <= ERROR_SHARE)


def _busy(bins: list[Bin]) -> Gate:
    lines = [line for found in bins for line in found.lines]
    share = sum(line.cpu_ns["generator"] for line in lines) / max(1, sum(line.wall_ns for line in lines))
    return Gate("generator busy", share, BUSY_SHARE, "of one CPU", share <= BUSY_SHARE)


def _late(table: Table) -> Gate:
    late = float(np.quantile(table[:, out.WOKEN] - table[:, out.PLANNED], 0.99)) / 1000
    good = table[table[:, out.OUTCOME] == out.OK]
    median = float(np.median(good[:, out.DONE] - good[:, out.PLANNED])) / 1000 if len(good) else 0.0
    limit = max(LATE_US, LATE_SHARE * median)
    return Gate("generator late (p99)", late, limit, "µs", late <= limit)


def _queued(table: Table) -> Gate:
    share = float((table[:, out.SENT] - table[:, out.WOKEN] > QUEUED_NS).mean())
    return Gate("queued for a connection", share, QUEUED_SHARE, "share of requests", share <= QUEUED_SHARE)
