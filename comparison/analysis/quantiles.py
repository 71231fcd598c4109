"""Percentiles that come with an interval, or not at all.

The interval is distribution-free: the number of values below the true p-quantile is binomial, so two order statistics
enclose it (David and Nagaraja, Order Statistics, 7.1). With few values the outer one does not exist, and then neither
the interval nor the percentile is reported: 368 values are the fewest for p99, 3688 for p99.9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossover.comparison.analysis.distributions import beta_quantile, binomial_quantile
from crossover.comparison.analysis.statistics import CONFIDENCE, Interval

Numbers = Sequence[float] | NDArray[np.float64] | NDArray[np.int64]

REPORTED = (0.5, 0.9, 0.95, 0.99, 0.999)


def ranks(count: int, p: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """The ranks (from 1) of the order statistics that enclose the p-quantile; None when one does not exist, as of no values."""
    if not count:
        return None
    tail = (1 - confidence) / 2
    low = binomial_quantile(tail, count, p)
    high = binomial_quantile(1 - tail, count, p) + 1
    return (low, high) if low >= 1 and high <= count else None


def quantile(values: Numbers, p: float, confidence: float = CONFIDENCE) -> Interval | None:
    """The p-quantile of `values` with its interval; None when there are too few values to have one."""
    found = ranks(len(values), p, confidence)
    if found is None:
        return None
    ordered = np.sort(np.asarray(values, float))
    return Interval(float(ordered[found[0] - 1]), float(np.quantile(ordered, p)), float(ordered[found[1] - 1]))


def fewest(p: float, confidence: float = CONFIDENCE) -> int:
    """The smallest number of values for which the p-quantile has an interval."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(max(p, 1 - p)))


def proportion(hits: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """A share with its exact interval (Clopper and Pearson 1934)."""
    tail = (1 - confidence) / 2
    low = beta_quantile(tail, hits, count - hits + 1) if hits else 0.0
    high = beta_quantile(1 - tail, hits + 1, count - hits) if hits < count else 1.0
    return Interval(low, hits / count, high)
