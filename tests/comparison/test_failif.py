"""The grammar of --fail-if."""

import pytest

from crossover.comparison.analysis.failif import RuleError, check_selects, parse


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


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("ratio > 1 where pair = grpc/rets", "no cell with pair = grpc/rets; its pair is grpc/rest"),
        ("ratio > 1 where metric = p99", "no cell with metric = p99; its metric is cpu, p50"),
        ("network = region and ratio > 1", "no cell with network = region; its network is loopback"),
        ("ratio > 1 where payload > 1e7", "no cell with payload > 10000000; its payload is 1048576, 256"),
        ("ratio > 1 where metric = cpu and payload = 1048576", "selects none"),
    ],
)
def test_a_rule_that_could_never_hold_is_refused_before_the_measuring(rule, said):
    """What is known of the planned cells decides whether a rule can hold; their results are still open."""
    with pytest.raises(RuleError, match=said):
        check_selects([parse(rule)], CELLS)


def test_a_rule_on_results_alone_may_hold():
    """Ratios and verdicts are known after the measuring, whatever the planned cells say of them now."""
    check_selects([parse("ratio > 99 where verdict = equal and payload = 256")], CELLS)
