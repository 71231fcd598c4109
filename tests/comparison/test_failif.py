"""The grammar of --fail-if."""

import pytest

from crossover.comparison.analysis.failif import RuleError, parse


def cell(**changes):
    return {
        "view": "end-to-end", "pair": ["grpc", "rest"], "model": "identity", "payload_bytes": 256, "concurrency": 8,
        "rate": 100.0, "network": "loopback", "metric": "p50", "ratio": 1.2, "ci": [1.1, 1.3], "verdict": "rest",
        "blocks": 6,
    } | changes  # fmt: skip


CELLS = [
    cell(),
    cell(payload_bytes=1 << 20, ratio=0.8, ci=[0.7, 0.9], verdict="grpc"),
    cell(metric="cpu", ratio=None, ci=None),
]


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("ratio > 1.1", True),
        ("any ratio > 1.25", False),
        ("all ratio > 1.1 where metric = p50", False),
        ("all ratio > 1.1 where metric = p50 and payload <= 1024", True),
        ("verdict = grpc where payload >= 1e6", True),
        ("verdict = rest and low > 1.05 where pair = grpc/rest", True),
        ("high < 1 where metric = cpu", False),
        ("verdict != rest where grpc = grpc and rest = rest and payload = 256 and metric = p50", False),
    ],
)
def test_rules(rule, holds):
    """A rule holds for any cell (or all) among those that `where` selects; a missing number passes nothing."""
    assert parse(rule).holds(CELLS) is holds


@pytest.mark.parametrize(
    "rule", ["", "ratio", "ratio > fast", "colour = red", "verdict > rest", "ratio > 1 where", "ratio > 1 or low > 1"]
)
def test_bad_rules_are_refused_in_one_sentence(rule):
    """What is not in the grammar is refused by a sentence that quotes it."""
    with pytest.raises(RuleError, match="--fail-if") as caught:
        parse(rule)
    assert "\n" not in str(caught.value)


def test_a_rule_that_selects_nothing_is_an_error():
    """A rule that no cell can meet would never fail: it is refused instead."""
    with pytest.raises(RuleError, match="selects none"):
        parse("ratio > 1 where payload = 3").holds(CELLS)
