"""Where the answer flips: the payload (concurrency, rate) at which ln(gRPC / REST) is zero, and the model time that hides
the choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.analysis.statistics import CONFIDENCE, Floats

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Crossing:
    """One change of the better side between two neighbouring values of what varies."""

    between: tuple[float, float]
    """The measured values on both sides: bytes, connections, or requests per second."""
    at: float
    """By straight line between the logarithms."""
    interval: tuple[float, float] | None
    """Interval of `at` over blocks drawn again; None when fewer than nine in ten of the draws cross here."""
    support: float
    """Share of the draws in which the answer flips between these two."""
    below: str
    """The better side below it: `grpc` or `rest`."""


def crossings(sizes: Sequence[float], differences: Floats, seed: int, draws: int = 4000) -> list[Crossing]:
    """Crossings of `differences` [blocks, sizes] (ln of gRPC over REST) over ascending `sizes`."""
    means = differences.mean(axis=0)
    chosen = np.random.default_rng(seed).integers(0, len(differences), (draws, len(differences)))
    drawn = differences[chosen].mean(axis=1)
    logs = np.log(np.asarray(sizes, float))
    return [_crossing(sizes, logs, means, drawn, i) for i in range(len(logs) - 1) if means[i] * means[i + 1] < 0]


def _crossing(sizes: Sequence[float], logs: Floats, means: Floats, drawn: Floats, i: int) -> Crossing:
    flips = drawn[:, i] * drawn[:, i + 1] < 0
    support = float(flips.mean())
    interval = None
    if support >= 0.9:
        places = _zero(logs[i], logs[i + 1], drawn[flips, i], drawn[flips, i + 1])
        low, high = np.quantile(places, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        interval = (math.exp(low), math.exp(high))
    at = math.exp(float(_zero(logs[i], logs[i + 1], means[i : i + 1], means[i + 1 : i + 2])[0]))
    below = "grpc" if means[i] < 0 else "rest"
    return Crossing((sizes[i], sizes[i + 1]), at, interval, support, below)


def _zero(left: float, right: float, at_left: Floats, at_right: Floats) -> Floats:
    return left + (right - left) * at_left / (at_left - at_right)


def indifferent_model_time(grpc: float, rest: float, share: float = 0.05) -> float:
    """The model time above which choosing the slower hop costs less than `share` of the whole, in the unit of the hops.

    The whole is model time plus hop: (M + slow) / (M + fast) = 1 + share at M = (slow - fast) / share - fast.
    """
    slow, fast = max(grpc, rest), min(grpc, rest)
    return max(0.0, (slow - fast) / share - fast)
