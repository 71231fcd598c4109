"""Capacity at a latency goal: the highest rate at which nearly all requests are answered in time, between two brackets.

A rate is met when at least `SHARE` of its requests were answered, rightly, within the goal of their planned time (as
MLPerf's server scenario counts it). The search goes up after a rate that was met and down after one that was not, by
factors that shrink: unlike halving, it comes back from a rate that was missed by chance (Robbins and Monro 1951).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.design import outcomes as out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.design.outcomes import Table

SHARE = 0.95
FACTORS = (1.5, 1.35, 1.25, 1.15, 1.1, 1.07, 1.05)
"""By which the rate goes up or down after each step."""
STEPS = len(FACTORS) + 1
FEWEST = 60
"""Requests of a step at least: with fewer, 95 of 100 is nothing that can be seen."""


@dataclass(slots=True)
class Search:
    """One arm's search; try `rate` and `tell` whether it was met, `STEPS` times."""

    rate: float
    """The rate to try next, requests per second."""
    met: float | None = None
    """The last rate that was met."""
    missed: float | None = None
    """The last rate that was not met."""
    taken: int = 0

    def tell(self, met: bool) -> None:
        """Note whether `rate` was met."""
        if met:
            self.met = self.rate
        else:
            self.missed = self.rate
        if self.taken < len(FACTORS):
            self.rate *= FACTORS[self.taken] if met else 1 / FACTORS[self.taken]
        self.taken += 1

    @property
    def bracket(self) -> tuple[float, float] | None:
        """The rates between which the capacity lies; None when all rates were met, or none."""
        if self.met is None or self.missed is None:
            return None
        return min(self.met, self.missed), max(self.met, self.missed)


def share_in_time(table: Table, goal_ms: float) -> float:
    """Share of all planned requests that were answered rightly within the goal, from their planned time."""
    in_time = (table[:, out.OUTCOME] == out.OK) & (table[:, out.DONE] - table[:, out.PLANNED] <= goal_ms * 1e6)
    return float(in_time.mean())


def middle(bracket: Sequence[float] | None) -> float | None:
    """The capacity between its brackets; None when the search found none."""
    return math.sqrt(bracket[0] * bracket[1]) if bracket else None


def percentile_ms(table: Table) -> float | None:
    """The latency within which `SHARE` of the requests were answered, ms; None when fewer were."""
    good = table[table[:, out.OUTCOME] == out.OK]
    if len(good) < SHARE * len(table):
        return None
    return float(np.quantile(good[:, out.DONE] - good[:, out.PLANNED], SHARE)) / 1e6
