"""Two modes of latency, and what a cell's requests can be expected to say: both on latencies whose truth is known."""

import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import synthetic

from crossover.comparison.analysis import expected, modes
from crossover.comparison.analysis import statistics as st
from crossover.comparison.analysis.whole import Analysis
from crossover.comparison.design import outcomes as out
from crossover.comparison.design import samples
from crossover.comparison.report import korean, words
from crossover.comparison.report.figures import latency

RANDOM = np.random.default_rng(11)
ONE_MODE = {
    "normal": lambda count: np.exp(RANDOM.normal(0, 0.2, count)),
    "wide": lambda count: np.exp(RANDOM.normal(0, 1.2, count)),
    "exponential": lambda count: 1 + RANDOM.exponential(1, count),
    "uniform": lambda count: RANDOM.uniform(1, 3, count),
    "tail": lambda count: 1 + RANDOM.pareto(1.5, count),
    "equal": np.ones,
    "slow blocks": lambda count: np.exp(RANDOM.normal(RANDOM.integers(2), 0.05, count)),
}


def two_modes(count, share=0.6):
    return np.where(RANDOM.random(count) < share, 35, 68) * np.exp(RANDOM.normal(0, 0.06, count))


@pytest.mark.parametrize("kind", ONE_MODE)
def test_one_mode_is_not_taken_for_two(kind):
    """Neither a long tail, nor a wide peak, nor blocks that are slow as a whole."""
    assert modes.two([ONE_MODE[kind](100) for _ in range(6)]) is None


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_two_modes_are_shown_with_their_shares(share):
    """A round trip more in some of the requests, and now and then an outlier."""
    found = [two_modes(60, share) * np.where(RANDOM.random(60) < 0.01, 30, 1) for _ in range(6)]
    first, second = modes.two(found)
    assert first.median_ms == pytest.approx(35, rel=0.05)
    assert second.median_ms == pytest.approx(68, rel=0.05)
    assert first.share == pytest.approx(share, abs=0.1)
    assert first.share + second.share == pytest.approx(1)


@pytest.mark.parametrize("found", [[], [np.empty(0)], [np.array([1.0])], [np.zeros(50)], [np.ones(39)]])
def test_too_few_latencies_have_no_modes(found):
    """No values, one value, zeros."""
    assert modes.two(found) is None


def bimodal_run(folder):
    """A run in which `grpc` and `rest` have two modes at the largest payload."""
    found = samples.read(synthetic.write(folder, blocks=4))
    for line, table in found.slices:
        if line.cell == 2 and line.arm in {"grpc", "rest"} and line.kind == samples.LOAD:
            table[:, out.DONE] = table[:, out.PLANNED] + (two_modes(len(table), 0.5) * 1e6).astype(int)
    return Analysis(found)


def test_a_report_says_and_draws_two_modes(tmp_path):
    """A sentence with both times and shares, in Korean too, a row of the summary, and a figure; nothing elsewhere."""
    analysis = bimodal_run(tmp_path)
    summary = {**analysis.summary(), "complete": True, "stopped": ""}
    assert {(row["arm"], row["where"]) for row in summary["arms"] if row["modes"]} == {
        ("grpc", "1 MB"),
        ("rest", "1 MB"),
    }
    ((grade, said),) = [doubt for doubt in words.doubts(summary) if "gather" in doubt[1]]
    assert grade == words.DOUBT
    assert re.search(
        r"at 1 MB gather around two times: 'rest' 3\d(\.\d)? ms \(\d\d%\) and 6\d(\.\d)? ms \(\d\d%\); 'grpc' ", said
    )
    assert not korean._english_words(korean.said(said))
    picture = latency.two_modes(analysis.measures, summary["arms"])
    assert "grpc at 1 MB" in picture.alternative
    assert picture.svg().startswith("<svg")
    assert latency.two_modes(analysis.measures, [{**row, "modes": None} for row in summary["arms"]]) is None


def reach_seen(latencies, blocks, in_block, runs=300):
    """What 95 % intervals of a ratio of medians reach either way at the median, where blocks differ by themselves too."""
    found = []
    for _ in range(runs):
        sides = [
            np.log(np.median(RANDOM.choice(latencies, (blocks, in_block)), axis=1))
            + RANDOM.normal(0, 0.04 / 2**0.5, blocks)
            for _ in range(2)
        ]
        found.append(st.mean_interval(sides[0] - sides[1]).half_width)
    return math.exp(np.median(found))


@pytest.mark.parametrize("latencies", [np.exp(RANDOM.normal(0, 0.3, 200)), two_modes(200, 0.6)])
def test_an_expected_interval_is_as_wide_as_intervals_are(latencies):
    """Drawn runs have intervals of about the width that was forecast, with one mode and with two."""
    said = expected.expectation(0, ("grpc", "rest"), 6, 10, (latencies, latencies))
    assert said.requests == 60
    assert math.log(said.reach) == pytest.approx(math.log(reach_seen(latencies, 6, 10)), rel=0.2)


def test_what_it_would_take_is_what_it_takes():
    """So many blocks bring the interval to the aim, and one fewer does not."""
    varying = np.exp(RANDOM.normal(0, 0.3, 50))
    said = expected.expectation(0, ("grpc", "rest"), 6, 10, (varying, varying))
    assert said.reach > expected.AIM
    at = [
        expected.expectation(0, ("grpc", "rest"), said.needed - less, 10, (varying, varying)).reach for less in (0, 1)
    ]
    assert at[0] <= expected.AIM < at[1]
    assert expected.expectation(0, ("grpc", "rest"), 6, 500, (varying, varying)).reach < expected.AIM


def test_what_cannot_be_expected_is_not_said():
    """One block gives no interval; three latencies say nothing; a median that jumps is never known that closely."""
    varying = np.exp(RANDOM.normal(0, 0.3, 50))
    assert expected.expectation(0, ("grpc", "rest"), 1, 10, (varying, varying)).reach is None
    assert expected.expectation(0, ("grpc", "rest"), 6, 10, (varying, varying[:3])) is None
    jumping = np.array([1.0, 1000.0] * 20)
    assert expected.expectation(0, ("grpc", "rest"), 6, 10, (jumping, jumping)).needed is None


@pytest.mark.parametrize(
    ("reach", "needed", "end"),
    [
        (1.04, 6, "can be expected to be known within 1.04 times either way."),
        (1.45, 40, "within 1.45 times either way, and within 1.1 times with --blocks 40."),
        (3.0, None, "by no number of blocks that can be asked for."),
        (None, None, "gets no interval, which takes two blocks or more."),
    ],
)
def test_what_is_said_of_a_cell_before_the_measuring(reach, needed, end):
    """Requests of each arm, the interval they can give, what it takes."""
    row = {
        "where": "64 KB, region",
        "requests": 1200,
        "blocks": 6,
        "pair": ["grpc", "rest"],
        "reach": reach,
        "needed": needed,
    }
    (said,) = words.expected([row])
    assert said.startswith("At 64 KB, region: 1,200 requests of each arm in 6 blocks; grpc / rest ")
    assert said.endswith(end)
