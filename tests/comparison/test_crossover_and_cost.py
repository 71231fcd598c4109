"""Crossover, model time and cost follow from measured ratios by arithmetic that can be checked by hand."""

import math

import numpy as np
import pytest

from crossover.comparison.analysis import cost, crossover


def test_crossing_is_found_where_the_line_passes_zero():
    """ln ratio +0.2 at 1 KB and -0.2 at 4 KB crosses at 2 KB, the middle on the log scale; REST is better below."""
    rows = np.array([[0.2, -0.2]] * 6) + np.random.default_rng(0).normal(0, 0.01, (6, 2))
    (found,) = crossover.crossings([1024, 4096], rows, seed=1)
    assert found.at == pytest.approx(2048, rel=0.05)
    assert found.below == "rest"
    assert found.interval is not None
    assert found.interval[0] < 2048 < found.interval[1]


def test_interval_of_the_crossing_covers_the_truth():
    """Over 200 simulated runs of 10 blocks the interval holds the true crossing in most."""
    random, covered = np.random.default_rng(2), 0
    for _ in range(200):
        rows = np.array([0.3, -0.2]) + random.normal(0, 0.08, (10, 2))
        found = crossover.crossings([1e3, 1e5], rows, seed=3, draws=600)
        covered += bool(
            found and found[0].interval and found[0].interval[0] <= 10 ** (3 + 2 * 0.6) <= found[0].interval[1]
        )
    assert covered / 200 > 0.85


def test_no_crossing_without_a_change_of_sign():
    """One side better everywhere: no crossing."""
    assert crossover.crossings([1, 2, 3], np.full((4, 3), 0.1), seed=1) == []


def test_doubtful_crossing_has_no_interval():
    """When many draws do not cross, the place has no interval and the support says so."""
    rows = np.array([[0.2, -0.01]] * 5) + np.random.default_rng(4).normal(0, 0.2, (5, 2))
    for found in crossover.crossings([10, 1000], rows, seed=5):
        assert found.interval is None
        assert found.support < 0.9


def test_model_time_that_hides_the_choice():
    """Hops of 1.0 and 1.5 ms differ by 5 % of the whole when the model takes 9 ms: (9 + 1.5) / (9 + 1) = 1.05."""
    hidden = crossover.indifferent_model_time(1.5, 1.0)
    assert (hidden + 1.5) / (hidden + 1.0) == pytest.approx(1.05)


def test_cost_of_a_million_requests():
    """1 ms of CPU at 60 % use and 0.04 an hour is 0.0185; 100 kB at 0.01 a gigabyte is 1.00."""
    found = cost.per_million(1e-3, 100_000, cost.Prices(0.04, 0.01, 0.6))
    assert found.cpu == pytest.approx(0.0185, abs=1e-4)
    assert found.traffic == pytest.approx(1.0)
    assert math.isclose(found.total, found.cpu + found.traffic)
