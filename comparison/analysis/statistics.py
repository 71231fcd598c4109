"""Statistics of paired blocks: how many times as much gRPC costs as REST, and what may be said about it.

The unit of replication is the block (fresh processes), never the request: requests of one run share its state, so
a hundred thousand of them say little more than one about the next run. Within a block every arm sees the same
schedule, so arms are compared by the difference of logarithms d = ln(gRPC / REST), block by block. All functions take
these differences as an array of shape [blocks], float64, and are pure; seeds make the random ones repeatable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crossover.comparison.analysis.distributions import t_above, t_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
EQUIVALENCE = 1.05
"""Ratios between 1/1.05 and 1.05 make no difference in practice (the margin of the equivalence test)."""
EXACT_SIGN_FLIPS = 16
"""Up to so many blocks all 2^B sign patterns are tried; above, a random sample of them."""
MOST_BLOCKS = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval."""

    low: float
    estimate: float
    high: float

    def exp(self) -> Interval:
        return Interval(math.exp(self.low), math.exp(self.estimate), math.exp(self.high))

    def covers(self, value: float) -> bool:
        return self.low <= value <= self.high

    @property
    def half_width(self) -> float:
        return (self.high - self.low) / 2


def log_ratios(numerator: Sequence[float], denominator: Sequence[float]) -> Floats:
    """The differences ln(numerator / denominator), one for each block; both positive and of the same length."""
    return np.log(np.asarray(numerator, float)) - np.log(np.asarray(denominator, float))


def mean_interval(values: Sequence[float] | Floats, confidence: float = CONFIDENCE) -> Interval | None:
    """Student's t interval of the mean; None with fewer than two values."""
    sample = np.asarray(values, float)
    if sample.size < 2:
        return None
    mean = float(sample.mean())
    error = float(sample.std(ddof=1)) / math.sqrt(sample.size)
    reach = float(t_quantile((1 + confidence) / 2, sample.size - 1)) * error
    return Interval(mean - reach, mean, mean + reach)


def bootstrap_interval(values: Sequence[float] | Floats, seed: int, draws: int = 10_000) -> Interval | None:
    """Percentile interval of the mean when whole blocks are drawn again with replacement (Efron)."""
    sample = np.asarray(values, float)
    if sample.size < 2:
        return None
    chosen = np.random.default_rng(seed).integers(0, sample.size, (draws, sample.size))
    means = sample[chosen].mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(low), float(sample.mean()), float(high))


def t_test(values: Sequence[float] | Floats) -> float:
    """Two-sided p-value of "the mean is zero" by Student's t; 1 with fewer than two values."""
    sample = np.asarray(values, float)
    if sample.size < 2:
        return 1.0
    spread = float(sample.std(ddof=1))
    if spread == 0:
        return 0.0 if sample.mean() != 0 else 1.0
    t = float(sample.mean()) / (spread / math.sqrt(sample.size))
    return float(2 * t_above(abs(t), sample.size - 1))


def sign_flip_test(values: Sequence[float] | Floats, seed: int, draws: int = 20_000) -> float:
    """Two-sided p-value of "each difference could as well have the other sign" (Fisher's randomisation test)."""
    sample = np.asarray(values, float)
    if sample.size == 0:
        return 1.0
    exact = sample.size <= EXACT_SIGN_FLIPS
    signs = _all_signs(sample.size) if exact else _random_signs(sample.size, draws, seed)
    reached = np.abs(signs @ sample) >= abs(sample.sum()) * (1 - 1e-12)
    return float(reached.mean()) if exact else float((reached.sum() + 1) / (draws + 1))


def _all_signs(count: int) -> Floats:
    bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    return np.asarray(1.0 - 2.0 * bits, float)


def _random_signs(count: int, draws: int, seed: int) -> Floats:
    return np.random.default_rng(seed).choice([-1.0, 1.0], (draws, count))


def hodges_lehmann(values: Sequence[float] | Floats) -> float:
    """The median of all pairwise means: a centre that one wild block cannot move far (Hodges and Lehmann 1963)."""
    sample = np.asarray(values, float)
    first, second = np.triu_indices(sample.size)
    return float(np.median((sample[first] + sample[second]) / 2))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for having asked several questions (Holm 1979), in the order given."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def blocks_needed(
    values: Sequence[float] | Floats, margin: float = EQUIVALENCE, resolution: float = 0.0, family: float = 1.0
) -> int | None:
    """How many blocks in all would decide, if mean and spread stayed as they are; None when over a thousand.

    A difference is decided when its interval leaves 0 out, its p-value times `family` (Holm's factor) is under 5 %, and
    the A/A pair's reach, now `resolution`, has shrunk below it with the root of the number of blocks; equality is
    decided when the interval lies within `margin`.
    """
    sample = np.asarray(values, float)
    if sample.size < 2:
        return None
    mean, spread = abs(float(sample.mean())), float(sample.std(ddof=1))
    blocks = np.arange(sample.size + 1, MOST_BLOCKS + 1)
    reach = _t_quantiles()[sample.size + 1 :] * spread / np.sqrt(blocks)
    seen = resolution * np.sqrt(sample.size / blocks) < mean
    p_value = 2 * t_above(mean * np.sqrt(blocks) / max(spread, 1e-300), blocks - 1)
    differs = (reach < mean) & seen & (p_value * family < 1 - CONFIDENCE)
    decides = differs | (mean + reach < math.log(margin))
    return int(blocks[decides.argmax()]) if decides.any() else None


def reaches(spread: float) -> Floats:
    """By the number of blocks up to `MOST_BLOCKS`, how far the interval of the mean reaches either way where blocks vary with
    the standard deviation `spread`; without end below two.
    """
    found = np.full(MOST_BLOCKS + 1, np.inf)
    blocks = np.arange(2, MOST_BLOCKS + 1)
    found[2:] = _t_quantiles()[2:] * spread / np.sqrt(blocks)
    return found


@cache
def _t_quantiles() -> Floats:
    """The t quantile of the two-sided interval for 0 to `MOST_BLOCKS` blocks (not a number below two)."""
    return np.asarray(t_quantile((1 + CONFIDENCE) / 2, np.arange(MOST_BLOCKS + 1) - 1), float)


def superiority(grpc: Sequence[float], rest: Sequence[float]) -> float:
    """A12: the probability that a value of `grpc` is smaller than one of `rest`, ties counted half."""
    a, b = np.asarray(grpc, float), np.sort(np.asarray(rest, float))
    above = b.size - np.searchsorted(b, a, side="right")
    ties = np.searchsorted(b, a, side="right") - np.searchsorted(b, a, side="left")
    return float((above + 0.5 * ties).sum() / (a.size * b.size))
