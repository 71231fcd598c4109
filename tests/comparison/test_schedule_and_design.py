"""Schedules and designs: what is random is seeded, and every arm gets the same."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from crossover.comparison.design import naming, schedule
from crossover.comparison.design.cells import Cell, plan, turns_in
from crossover.comparison.experiment.paces import Pace, paces


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
CELLS = [Cell(size, 64, 100.0) for size in (256, 1024, 4096)]


def test_blocks_are_complete_and_share_seeds():
    """Each block holds every arm of every cell and turn once, with one seed for all arms of a cell and turn."""
    for block in plan(4, CELLS[:3], ARMS, 2, 0.25, seed=7):
        assert Counter((s.cell, s.arm, s.turn) for s in block.slices) == Counter(
            (cell, arm, turn) for cell in range(3) for arm in ARMS for turn in range(2)
        )
        seeds = {(s.cell, s.turn, s.seed) for s in block.slices}
        assert len(seeds) == 6


def test_second_turn_reverses_the_first():
    """ABBA: within a cell the arms come back in the opposite order."""
    first = plan(1, CELLS[:1], ARMS, 2, 0.25, seed=3)[0].slices
    assert [s.arm for s in first[:3]] == [s.arm for s in first[3:]][::-1]


def test_order_is_random_over_blocks_and_repeatable():
    """Every arm comes first in about a third of many blocks; the same seed gives the same plan."""
    firsts = Counter(block.slices[0].arm for block in plan(600, CELLS[:1], ARMS, 1, 0.25, seed=5))
    assert stats.chisquare([firsts[arm] for arm in ARMS]).pvalue > 0.001
    assert plan(3, CELLS[:2], ARMS, 2, 0.25, seed=9) == plan(3, CELLS[:2], ARMS, 2, 0.25, seed=9)


REACHED = {"rest": 3900.0, "rest-binary": 3300.0, "rest-fastapi": 2400.0, "grpc-typed": 1800.0, "grpc": 2100.0}
STOCK = {"rest-stock": 470.0, "grpc-stock": 2100.0}


def test_arms_of_one_kind_of_speed_share_a_rate():
    """Where no arm is three times slower than grpc there is one pace, set by the slowest."""
    (pace,) = paces([*REACHED, "grpc-again", "control"], REACHED)
    assert pace.slow == ()
    assert pace.slowest(REACHED) == 1800.0


def test_a_far_slower_arm_has_a_pace_of_its_own_with_those_it_is_compared_with():
    """rest-stock leaves the others alone, and takes along its partner, the rungs between them, and the A/A pair."""
    reached = REACHED | STOCK
    fast, slow = paces([*reached, "grpc-again", "control"], reached)
    assert "rest-stock" not in fast.arms and fast.slowest(reached) == 1800.0
    assert slow.slow == ("rest-stock",) and slow.slowest(reached) == 470.0
    assert set(slow.arms) == {*reached, "grpc-again"}


def test_two_arms_of_unlike_speed_are_compared_at_one_rate():
    """When no pair would be left among the fast arms, everything runs at the slow arm's rate."""
    assert paces(["rest-stock", "grpc-stock", "grpc"], REACHED | STOCK) == [Pace(("rest-stock", "grpc-stock", "grpc"))]


def test_cells_of_slow_arms_come_in_some_blocks_with_their_own_arms():
    """Of eight blocks every second visits them, of four every one; elsewhere all arms run."""
    cells = [CELLS[0], Cell(256, 64, 2.0, arms=("a", "b"), slow=("a",))]
    blocks = plan(8, cells, ARMS, 1, 0.25, seed=1)
    assert [sorted(s.arm for s in block.slices if s.cell == 1) for block in blocks] == [["a", "b"], []] * 4
    assert all(sorted(s.arm for s in block.slices if s.cell == 0) == ARMS for block in blocks)
    assert all({s.cell for s in block.slices} == {0, 1} for block in plan(4, cells, ARMS, 1, 0.25, seed=1))


def test_a_pair_is_judged_in_one_of_two_cells():
    """A slow arm's cell is for its pairs alone, though the others run there too."""
    slow = Cell(256, 64, 2.0, arms=("grpc", "rest-binary", "rest"), slow=("rest",))
    assert slow.compares(("grpc", "rest")) and not slow.compares(("grpc", "rest-binary"))
    assert naming.conditions([CELLS[0], slow]) == ["", ""]
    assert naming.place(256, "", slow=True) == "256 B, slow arms"


def test_rare_requests_take_fewer_and_longer_turns():
    """At 100/s a quarter of a second has requests enough; at 10/s a slice takes half a second and at 2/s there are two."""
    assert [turns_in(Cell(256, 64, rate), 8, 0.25) for rate in (100.0, 10.0, 2.0)] == [8, 4, 2]
    assert turns_in(Cell(256, 64, 2.0), 1, 0.25) == 1
    assert turns_in(Cell(256, 64, None), 8, 0.25) == 8
