"""When requests are to be sent: drawn once for a block and cell, the same for every arm.

Open loop: a Poisson process of a given rate, stopped after a fixed number of arrivals, so that every slice has
requests and arms of a block have equally many. What a slow answer delays is then seen in the latency, which counts
from the planned time (no coordinated omission). Closed loop: no times at all; a caller sends when it has its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST = 5
"""A slice has at least so many requests, also where that takes longer than the slice was to last."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The requests of one slice."""

    offsets_ns: NDArray[np.int64] | None
    """Planned send times after the start, ascending; None in the closed loop."""
    variants: NDArray[np.int64]
    """Which of the cell's payload variants each request carries."""
    start_ns: int = 0
    """When it starts on the monotonic clock, for generators that share a slice; 0: as soon as it can."""

    @property
    def count(self) -> int:
        return len(self.variants)


def count_for(rate: float, seconds: float, fewest: int = FEWEST) -> int:
    """Requests in a slice of `seconds` at `rate` per second."""
    return max(fewest, round(rate * seconds))


def poisson(rate: float, count: int, variants: int, seed: int) -> Schedule:
    """`count` arrivals of a Poisson process with `rate` per second; payload variants drawn evenly."""
    if not rate > 0:
        raise ValueError(f"the rate is {rate}; it must be above 0 requests per second")
    random = np.random.default_rng(seed)
    gaps = random.exponential(1e9 / rate, count)
    offsets = np.cumsum(gaps).astype(np.int64)
    return Schedule(offsets, random.integers(0, variants, count))


def closed(count: int, variants: int, seed: int) -> Schedule:
    """`count` requests without times: each caller sends its next when the last is answered."""
    return Schedule(None, np.random.default_rng(seed).integers(0, variants, count))
