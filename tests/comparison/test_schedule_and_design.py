"""Schedules and designs: what is random is seeded, and every arm gets the same."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from comparison.experiment import schedule
from comparison.experiment.design import plan


def test_poisson_gaps_are_exponential():
    """The gaps pass a Kolmogorov-Smirnov test against the exponential distribution of the asked rate."""
    drawn = schedule.poisson(rate=500, count=20_000, variants=4, seed=1)
    gaps = np.diff(drawn.offsets_ns) / 1e9
    assert stats.kstest(gaps, "expon", args=(0, 1 / 500)).pvalue > 0.01


@given(some.floats(0.5, 5000), some.integers(1, 300), some.integers(0, 2**31))
def test_same_seed_same_schedule(rate, count, seed):
    """A schedule depends on its arguments alone, and its times never go back."""
    one, two = (schedule.poisson(rate, count, 3, seed) for _ in range(2))
    assert np.array_equal(one.offsets_ns, two.offsets_ns)
    assert np.array_equal(one.variants, two.variants)
    assert (np.diff(one.offsets_ns) >= 0).all()
    assert one.count == count


def test_closed_loop_has_no_times():
    """In the closed loop there is nothing to be late for."""
    assert schedule.closed(10, 2, 1).offsets_ns is None


def test_rate_zero_is_refused():
    """A rate of zero cannot make a schedule."""
    with pytest.raises(ValueError, match="above 0"):
        schedule.poisson(0, 10, 1, 1)


def test_slow_rates_still_have_requests():
    """A slice at one request in two seconds is as long as it takes to send the fewest."""
    assert schedule.count_for(0.5, 1.0) == schedule.FEWEST


ARMS = ["a", "b", "c"]


def test_blocks_are_complete_and_share_seeds():
    """Each block holds every arm of every cell and turn once, with one seed for all arms of a cell and turn."""
    for block in plan(4, 3, ARMS, 2, seed=7):
        assert Counter((s.cell, s.arm, s.turn) for s in block.slices) == Counter(
            (cell, arm, turn) for cell in range(3) for arm in ARMS for turn in range(2)
        )
        seeds = {(s.cell, s.turn, s.seed) for s in block.slices}
        assert len(seeds) == 6


def test_second_turn_reverses_the_first():
    """ABBA: within a cell the arms come back in the opposite order."""
    first = plan(1, 1, ARMS, 2, seed=3)[0].slices
    assert [s.arm for s in first[:3]] == [s.arm for s in first[3:]][::-1]


def test_order_is_random_over_blocks_and_repeatable():
    """Every arm comes first in about a third of many blocks; the same seed gives the same plan."""
    firsts = Counter(block.slices[0].arm for block in plan(600, 1, ARMS, 1, seed=5))
    assert stats.chisquare([firsts[arm] for arm in ARMS]).pvalue > 0.001
    assert plan(3, 2, ARMS, 2, seed=9) == plan(3, 2, ARMS, 2, seed=9)
