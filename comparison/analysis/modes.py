"""Whether latencies gather around two times instead of one: then their median says little, and both times are shown.

A connection that begins slowly, a window that fills, a cache that is missed: some requests take one round trip more than
others. Which share they have differs from block to block, and the median may be either of the two times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEWEST = 40
"""Fewer latencies show no second mode."""
LEAST_SHARE, LEAST_DISTANCE = 0.1, 1.3
"""A mode holds a tenth of the requests or more, and the later one takes so many times as long."""
_VALLEY = 0.1
"""Of what lies between the two modes' medians, the middle third holds at most so much; of one mode it holds a third or so."""
_OUTLIERS = 0.01
_LEAST_IN_BLOCK, _MOST_BLOCKS = 0.05, 0.5
"""A block has both modes when it has so large a share of each; a half of the blocks or more have both, since a block that is
slow as a whole is no second mode.
"""


@dataclass(frozen=True, slots=True)
class Mode:
    """One of the two."""

    median_ms: float
    share: float
    """Of the requests."""


def two(blocks: Sequence[Floats]) -> tuple[Mode, Mode] | None:
    """The two modes of latencies in ms, given by block; None where there are not two."""
    logs = [np.log(found[found > 0]) for found in blocks]
    whole = np.sort(np.concatenate([np.empty(0), *logs]))
    if len(whole) < FEWEST:
        return None
    border = _border(np.clip(whole, *np.quantile(whole, (_OUTLIERS, 1 - _OUTLIERS))))
    below, above = whole[whole <= border], whole[whole > border]
    if min(len(below), len(above)) < LEAST_SHARE * len(whole) or not _is_valley(whole, below, above):
        return None
    shares = np.array([float((found > border).mean()) for found in logs if len(found)])
    if ((shares >= _LEAST_IN_BLOCK) & (shares <= 1 - _LEAST_IN_BLOCK)).mean() < _MOST_BLOCKS:
        return None
    first, second = (Mode(math.exp(float(np.median(part))), len(part) / len(whole)) for part in (below, above))
    return first, second


def _border(ordered: Floats) -> float:
    """The value that divides ascending values into two groups that differ most (Otsu 1979): the last one of the lower group."""
    count = len(ordered)
    sizes = np.arange(1, count)
    sums = np.cumsum(ordered)
    between = (sums[-1] * sizes / count - sums[:-1]) ** 2 / (sizes * (count - sizes))
    return float(ordered[int(between.argmax())])


def _is_valley(whole: Floats, below: Floats, above: Floats) -> bool:
    """Whether the two groups' medians are far apart, with next to nothing in the middle between them."""
    low, high = float(np.median(below)), float(np.median(above))
    if high - low < math.log(LEAST_DISTANCE):
        return False
    third = (high - low) / 3
    inside = ((whole > low) & (whole < high)).sum()
    middle = ((whole > low + third) & (whole < high - third)).sum()
    return bool(middle <= _VALLEY * inside)
