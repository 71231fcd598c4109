"""Before anything is measured: how wide an interval a cell's requests can be expected to give, and what a narrow one takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.analysis import statistics as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

AIM = 1.1
"""What is asked of a ratio's interval: that it reaches so many times either way."""
BETWEEN_BLOCKS = 0.04
"""Standard deviation of ln p50 from block to block that no number of requests makes smaller: A/A pairs of the published runs."""
FEWEST = 4
"""Fewer latencies say nothing of how they vary."""
_DRAWS, _MOST_DRAWN = 400, 400


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the requests of one cell can be expected to say of its first pair's ratio of medians."""

    cell: int
    pair: tuple[str, str]
    requests: int
    """Of each arm, over all blocks."""
    blocks: int
    reach: float | None
    """The interval reaches so many times either way; None with one block, which gives none."""
    needed: int | None
    """Blocks that would bring it to `AIM`; None: more than `statistics.MOST_BLOCKS`."""


def expectation(
    cell: int, pair: tuple[str, str], blocks: int, in_block: int, latencies: Sequence[Floats]
) -> Expectation | None:
    """What `blocks` of `in_block` requests would say, from a few `latencies` of each of the two arms; None where they are
    too few.
    """
    if min(map(len, latencies)) < FEWEST:
        return None
    spread = math.sqrt(BETWEEN_BLOCKS**2 + sum(spread_of_median(found, in_block) ** 2 for found in latencies))
    reaches = st.reaches(spread)
    enough = reaches <= math.log(AIM)
    return Expectation(
        cell,
        pair,
        blocks * in_block,
        blocks,
        math.exp(reaches[min(blocks, len(reaches) - 1)]) if blocks > 1 else None,
        int(enough.argmax()) if enough.any() else None,
    )


def spread_of_median(latencies: Floats, count: int) -> float:
    """Standard deviation of the logarithm of the median of `count` requests whose latencies vary as these do."""
    drawn = min(count, _MOST_DRAWN)
    chosen = np.random.default_rng(0).choice(np.asarray(latencies, float), (_DRAWS, drawn))
    return float(np.log(np.median(chosen, axis=1)).std()) * math.sqrt(drawn / count)
