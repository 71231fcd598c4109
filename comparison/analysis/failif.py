"""`--fail-if`: a small rule over the cells of a summary, for CI.

    rule   = [ "any" | "all" ] tests [ "where" tests ]
    tests  = test { "and" test }
    test   = field operator value
    field  = ratio | low | high | verdict | blocks | metric | payload | concurrency | rate | network | view
           | model | grpc | rest | pair
    operator = "<" | "<=" | ">" | ">=" | "=" | "!="

`where` selects cells; the rule holds when any of them (the default) or all of them pass the tests. `pair` is written
grpc-arm/rest-arm. A cell without a number (invalid, too few blocks, or withheld by a control) passes no comparison of
numbers. Words that can only be one of a few (a verdict, a metric, a view, a network) are checked when the rule is read.

    any ratio > 1.10 where metric = p50 and payload <= 16384 and pair = grpc/rest-binary
    verdict = rest where metric = cpu
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from crossover.comparison.analysis.measures import METRICS
from crossover.comparison.analysis.verdicts import Verdict
from crossover.comparison.network.profiles import NETWORKS

Cell = Mapping[str, Any]

VERDICTS: tuple[str, ...] = get_args(Verdict)
_FIELDS: dict[str, Callable[[Cell], Any]] = {
    "ratio": lambda cell: None if cell.get("withheld") else cell["ratio"],
    "low": lambda cell: cell["ci"][0] if cell["ci"] and not cell.get("withheld") else None,
    "high": lambda cell: cell["ci"][1] if cell["ci"] and not cell.get("withheld") else None,
    "verdict": lambda cell: cell["verdict"],
    "blocks": lambda cell: cell["blocks"],
    "metric": lambda cell: cell["metric"],
    "payload": lambda cell: cell["payload_bytes"],
    "concurrency": lambda cell: cell["concurrency"],
    "rate": lambda cell: cell["rate"],
    "network": lambda cell: cell["network"],
    "view": lambda cell: cell["view"],
    "model": lambda cell: cell["model"],
    "grpc": lambda cell: cell["pair"][0],
    "rest": lambda cell: cell["pair"][1],
    "pair": lambda cell: "/".join(cell["pair"]),
}
_WORDS: dict[str, tuple[str, ...]] = {
    "verdict": VERDICTS,
    "metric": tuple(METRICS),
    "view": ("end-to-end", "hop", "pair"),
    "network": tuple(NETWORKS),
}
"""Fields whose words are known beforehand."""
_NUMBERS = frozenset({"ratio", "low", "high", "blocks", "payload", "concurrency", "rate"})
_RESULTS = frozenset({"ratio", "low", "high", "verdict", "blocks"})
"""Fields that only the measuring gives."""
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "=": operator.eq,
}  # fmt: skip
_TEST = re.compile(r"(\w+)\s*(<=|>=|!=|<|>|=)\s*(\S+)")


class RuleError(ValueError):
    """A rule that is not in the grammar, in one sentence."""


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison of a cell's field with a value."""

    __test__ = False
    field: str
    operator: str
    value: float | str

    def holds(self, cell: Cell) -> bool:
        found = _FIELDS[self.field](cell)
        if found is None:
            return False
        return _OPERATORS[self.operator](found, self.value)

    @property
    def text(self) -> str:
        """The value as it is written."""
        return f"{self.value:.15g}" if isinstance(self.value, float) else self.value


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it was written and what it means."""

    text: str
    every: bool
    tests: tuple[Test, ...]
    where: tuple[Test, ...]

    def holds(self, cells: Sequence[Cell]) -> bool:
        """True when the rule holds over `cells`; RuleError when its `where` selects none of them."""
        chosen = [cell for cell in cells if all(test.holds(cell) for test in self.where)]
        if not chosen:
            raise RuleError(f"--fail-if '{self.text}' selects none of this run's cells; check its 'where'")
        verdicts = [all(test.holds(cell) for test in self.tests) for cell in chosen]
        return all(verdicts) if self.every else any(verdicts)


def check_selects(rules: Sequence[Rule], planned: Sequence[Cell]) -> None:
    """RuleError for a rule that no result of the `planned` cells can meet: it would never fail, and is refused beforehand."""
    for rule in rules:
        if not planned:
            raise RuleError(f"--fail-if '{rule.text}' selects nothing: no pair is measured")
        known = [test for test in (*rule.where, *rule.tests) if test.field not in _RESULTS]
        for test in known:
            if not any(test.holds(cell) for cell in planned):
                has = sorted({str(_FIELDS[test.field](cell)) for cell in planned})
                raise RuleError(
                    f"--fail-if '{rule.text}' could never hold: this run has no cell with {test.field} {test.operator} "
                    f"{test.text}; its {test.field} is {', '.join(has)}"
                )
        if not any(all(test.holds(cell) for test in known) for cell in planned):
            raise RuleError(f"--fail-if '{rule.text}' selects none of this run's cells; check its 'where'")


def parse(text: str) -> Rule:
    """The rule that `text` says; RuleError that names what is wrong."""
    body, where_word, where = text.strip().partition(" where ")
    first, _, rest = body.partition(" ")
    every = first == "all"
    tests = _tests(rest if first in {"any", "all"} else body, text)
    return Rule(text, every, tests, _tests(where, text) if where_word else ())


def _tests(text: str, rule: str) -> tuple[Test, ...]:
    return tuple(_test(part.strip(), rule) for part in re.split(r"\s+and\s+", text.strip()))


def _test(text: str, rule: str) -> Test:
    match = _TEST.fullmatch(text)
    if match is None:
        raise RuleError(f"--fail-if '{rule}': '{text}' is not a test; write for example 'ratio > 1.1'")
    name, sign, value = match.groups()
    if name not in _FIELDS:
        raise RuleError(f"--fail-if '{rule}': '{name}' is not a field; choose one of {', '.join(_FIELDS)}")
    if name not in _NUMBERS:
        if sign not in {"=", "!="}:
            raise RuleError(f"--fail-if '{rule}': '{name}' is a word; compare it with = or !=")
        if value not in _WORDS.get(name, (value,)):
            raise RuleError(f"--fail-if '{rule}': '{value}' is no {name}; choose one of {', '.join(_WORDS[name])}")
        if name == "pair" and value.count("/") != 1:
            raise RuleError(f"--fail-if '{rule}': a pair is written grpc-arm/rest-arm, not '{value}'")
        return Test(name, sign, value)
    return Test(name, sign, _number(value, rule))


def _number(text: str, rule: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise RuleError(f"--fail-if '{rule}': '{text}' is not a number")
    return found
