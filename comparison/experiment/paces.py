"""Which arms share a rate. An arm that can do 3 requests/s would hold one that can do 300 to a rate that shows nothing.

So arms far slower than the reference get a cell of their own, with the arms that they are compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.comparison.analysis.explain import ladder_for
from crossover.comparison.design.arms import AGAIN, REFERENCE, headline_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FAR_SLOWER = 3.0
"""An arm is slow when the reference reaches so many times its rate."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Arms that are driven at one rate."""

    arms: tuple[str, ...]
    slow: tuple[str, ...] = ()
    """Those of them for whose sake the rate is low; empty where it is not."""

    def slowest(self, reached: Mapping[str, float]) -> float:
        """Requests per second of the slowest; controls were not probed, they are the reference again."""
        return min(reached[name] for name in self.arms if name in reached)


def paces(arms: Sequence[str], reached: Mapping[str, float]) -> list[Pace]:
    """One pace, or two where some of `arms` are slow and a declared pair is left among the others.

    `reached` is what each arm reached in the probe, requests per second.
    """
    slow = [name for name in arms if name in reached and FAR_SLOWER * reached[name] < reached.get(REFERENCE, 0.0)]
    fast = tuple(name for name in arms if name not in slow)
    if not slow or not headline_pairs(fast):
        return [Pace(tuple(arms))]
    beside = _compared_with(slow, arms)
    return [Pace(fast), Pace(tuple(name for name in arms if name in beside), tuple(slow))]


def _compared_with(slow: Sequence[str], arms: Sequence[str]) -> set[str]:
    """The slow arms, their partners in declared pairs and on the ladders between them, and the A/A pair."""
    found = {*slow, REFERENCE, AGAIN}
    for pair in headline_pairs(arms):
        if not set(slow).isdisjoint(pair.key):
            ladder = ladder_for(pair.key, arms)
            found |= {*pair.key, *(ladder.arms if ladder else ())}
    return found
