"""The search for the capacity at a latency goal: it finds what is known, and comes back from chance."""

import json
import math

import numpy as np
import pytest

from crossover.comparison.analysis import capacity, verdicts
from crossover.comparison.analysis.capacity import Search
from crossover.comparison.design import outcomes as out
from tests.comparison.test_run import SMALL, lab


def searched(start, met):
    search = Search(start)
    for step in range(capacity.STEPS):
        search.tell(met(step, search.rate))
    return search


@pytest.mark.parametrize("start", [600.0, 1000.0, 1600.0])
def test_a_known_capacity_lies_near_the_bracket(start):
    """A server that meets exactly the rates up to 1000 is found to do so within some 5 %."""
    found = searched(start, lambda _, rate: rate <= 1000)
    low, high = found.bracket
    assert low <= 1000 <= high
    assert capacity.middle(found.bracket) == pytest.approx(1000, rel=0.06)


@pytest.mark.parametrize("step", range(3))
def test_one_rate_that_is_missed_by_chance_does_not_decide(step):
    """A search that misses one of its first rates for no reason of the server's comes back."""
    found = searched(900.0, lambda now, rate: rate <= 1000 and now != step)
    assert capacity.middle(found.bracket) == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize("answer", [True, False])
def test_a_search_that_saw_one_side_alone_says_no_number(answer):
    """Without a rate that was met and one that was not there is no bracket and no capacity."""
    found = searched(100.0, lambda *_: answer)
    assert found.bracket is None
    assert capacity.middle(found.bracket) is None


def test_what_was_not_answered_was_not_in_time():
    """Of four requests one is late, one wrong and one unanswered: a quarter was in time, and no percentile exists."""
    table = out.empty(4)
    table[:, out.DONE] = [5_000_000, 20_000_000, 5_000_000, 0]
    table[:, out.OUTCOME] = [out.OK, out.OK, out.WRONG, out.UNANSWERED]
    assert capacity.share_in_time(table, 10.0) == 0.25
    assert capacity.percentile_ms(table) is None


def test_more_capacity_is_better():
    """A gRPC arm that takes half the rate is the worse one, and the verdict is REST's."""
    halves = np.full(6, math.log(0.5)) + np.linspace(-0.01, 0.01, 6)
    assert verdicts.judge(halves, seed=1, holm_p=0.001).verdict == "grpc"
    assert verdicts.judge(halves, seed=1, holm_p=0.001, larger_is_better=True).verdict == "rest"


@pytest.mark.slow
def test_a_run_with_a_goal_brackets_the_capacity(tmp_path):
    """Real services: every search is kept with what it tried, and the arms' rows give its bracket or nothing."""
    done = lab(
        "run",
        *SMALL,
        "--blocks",
        "1",
        "--slice",
        "0.05",
        "--goal",
        "20",
        "--arms",
        "rest-binary",
        "grpc",
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 0, done.stderr + done.stdout
    lines = [json.loads(line) for line in (tmp_path / "run" / "samples" / "capacity.jsonl").read_text().splitlines()]
    assert {(line["block"], line["arm"]) for line in lines} == {(0, "rest-binary"), (0, "grpc")}
    assert all(len(line["tried"]) == capacity.STEPS for line in lines)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for row in summary["arms"]:
        brackets = [line["bracket"] for line in lines if line["arm"] == row["arm"] and line["bracket"]]
        assert (row["capacity"] is None) == (not brackets)
    assert any(gate["gate"] == "generator busy (capacity)" for gate in summary["gates"])
