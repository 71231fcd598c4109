"""What the calls of one situation say: shares of the replicas, latencies, failures. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARE_REACHED = 0.8
"""A new replica has its share with so much of an equal one."""


@dataclass(slots=True)
class Calls:
    """The calls of a situation as they ended."""

    seconds: list[float] = field(default_factory=list)
    """Of those that were answered."""
    failed: Counter[str] = field(default_factory=Counter)
    """By our error code."""

    @property
    def count(self) -> int:
        return len(self.seconds) + self.failed.total()


def shares(counts: Sequence[int]) -> list[float]:
    """Each replica's part of all calls; zeros where there were none."""
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def jain(counts: Sequence[int]) -> float:
    """Jain's fairness index (Jain, Chiu and Hawe 1984): 1 when all have the same, 1/n when one has all."""
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else math.nan


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that `part` of them do not exceed; NaN for none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)] if ordered else math.nan


def has_its_share(counts: Sequence[int]) -> bool:
    """Whether the last of the replicas, which is new, has nearly an equal part."""
    return bool(sum(counts)) and shares(counts)[-1] >= SHARE_REACHED / len(counts)
