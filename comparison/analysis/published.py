"""Published runs: what findings rest on, kept as rows in `results/*.json`, that others can add theirs to.

A row is a run's summary without its bulk: machine, versions, calibration, ratios with intervals and verdicts, crossings.
`python -m comparison report RUN --result results/NAME.json` makes one. Two things are asked of the rows: on how many of them
a sentence of a document holds, and where a new run differs from them.

A sentence says so itself, with the count before a rule (or several, which all must hold) in the grammar of `--fail-if`:

    ... takes a third of REST's median; **2 of 2 hosts**<!-- holds: all high < 0.5 where pair = grpc-stock/rest-stock -->
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossover.comparison.analysis.failif import Rule, RuleError, parse

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCHEMA = "crossover.result/1.0"
METRICS = ("p50", "p90", "p99", "cpu", "wire_bytes")
_JUDGED = ("p50", "cpu")
"""By what a new run is set beside the published ones."""
_CELL = (
    "view", "pair", "model", "payload_bytes", "concurrency", "rate", "network", "metric", "ratio", "ci", "verdict", "blocks",
    "withheld", "load", "tls", "condition",
)  # fmt: skip
_MACHINE = ("processor", "cpus", "kernel", "memory_bytes", "hypervisor", "clocksource")
_SAID = re.compile(
    r"\*\*(?:(?P<holds>\d+) of (?P<all>\d+) hosts?|호스트 (?P<alle>\d+)대 중 (?P<hold>\d+)대)\*\*[^<\n]*<!-- holds: (?P<rules>.+?) -->"
)
_COUNTED = re.compile(r"\*\*(?:\d+ of \d+ hosts?|호스트 \d+대 중 \d+대)\*\*")


class ResultError(ValueError):
    """A row or a claim that cannot be read, in one sentence."""


def row(summary: dict[str, Any], provenance: dict[str, Any], name: str) -> dict[str, Any]:
    """The row of a run."""
    return {
        "schema": SCHEMA,
        "name": name,
        **{key: summary.get(key) for key in ("created", "command", "complete", "blocks", "model", "services")},
        "commit": provenance.get("commit"),
        "language": f"{provenance.get('implementation', 'Python')} {provenance.get('python', '')}".strip(),
        "machine": {key: provenance.get(key) for key in _MACHINE},
        "versions": provenance.get("packages", {}),
        "calibration": provenance.get("calibration"),
        "cells": [
            {key: cell.get(key) for key in _CELL} for cell in summary["cells"] if cell["metric"] in METRICS
        ],
        "crossings": [
            {"pair": found["pair"], "metric": found["metric"], "over": found["over"], **crossing}
            for found in summary.get("crossovers", ())
            for crossing in found["crossings"]
        ],
    }  # fmt: skip


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows in a folder, by file name; none where there is no such folder. ResultError names a file that is no row."""
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise ResultError(f"{path} is no row: its schema is not {SCHEMA}")
    for cell in found.get("cells", ()):
        if missing := [key for key in ("pair", "metric", "payload_bytes", "ratio", "ci", "verdict") if key not in cell]:
            raise ResultError(f"{path} has a cell without {missing[0]}")
    return found


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence that says on how many rows it holds."""

    line: int
    holds: int
    of: int
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """On which rows a claim holds, on which it does not, and which say nothing of it."""

    holds: tuple[str, ...]
    fails: tuple[str, ...]
    silent: tuple[str, ...]

    def agrees(self, claim: Claim) -> bool:
        return (claim.holds, claim.of) == (len(self.holds), len(self.holds) + len(self.fails))


def claims(text: str) -> list[Claim]:
    """The claims of a document in their order; ResultError for a count without a rule, or a rule that is none."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        matches = list(_SAID.finditer(line))
        if len(matches) != len(_COUNTED.findall(line)):
            raise ResultError(
                f"line {number} counts hosts without a rule behind it: **N of M hosts**<!-- holds: RULE -->"
            )
        for match in matches:
            try:
                rules = tuple(parse(rule.strip()) for rule in match["rules"].split(";"))
            except RuleError as error:
                raise ResultError(f"line {number}: {error}") from None
            holds, of = (match["holds"], match["all"]) if match["holds"] else (match["hold"], match["alle"])
            found.append(Claim(number, int(holds), int(of), rules))
    return found


def standing(claim: Claim, found: Sequence[dict[str, Any]]) -> Standing:
    """How a claim stands on the rows."""
    sorted_out: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    for one in found:
        try:
            held: bool | None = all(rule.holds(one["cells"]) for rule in claim.rules)
        except RuleError:  # none of its cells are asked about
            held = None
        sorted_out[held].append(one["name"])
    return Standing(*(tuple(sorted_out[key]) for key in (True, False, None)))


def compared(summary: dict[str, Any], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each row with cells that a run of our own services has too: how many, and in which of them the two differ.

    `sign`: each has another side ahead. `size`: the intervals have nothing in common. Both hold cells as `pair, metric,
    payload_bytes, network, here, there`, the largest difference first.
    """
    if summary.get("services") != "ours":
        return []
    own = {_key(cell): cell for cell in summary["cells"] if _usable(cell)}
    return [told for one in found if (told := _beside(own, one)) is not None]


def _beside(own: dict[tuple[Any, ...], dict[str, Any]], one: dict[str, Any]) -> dict[str, Any] | None:
    there = {_key(cell): cell for cell in one["cells"] if _usable(cell)}
    shared = [key for key in own if key in there]
    if not shared:
        return None
    sign, size = [], []
    for key in shared:
        a, b = own[key], there[key]
        told = {
            "pair": a["pair"], "metric": a["metric"], "payload_bytes": a["payload_bytes"], "network": a["network"],
            "here": a["ratio"], "there": b["ratio"],
        }  # fmt: skip
        if {a["verdict"], b["verdict"]} == {"grpc", "rest"}:
            sign.append(told)
        elif a["ci"][0] > b["ci"][1] or b["ci"][0] > a["ci"][1]:
            size.append(told)
    for cells in (sign, size):
        cells.sort(key=lambda cell: -abs(math.log(cell["here"] / cell["there"])))
    return {"row": one["name"], "machine": one.get("machine", {}), "shared": len(shared), "sign": sign, "size": size}


def _usable(cell: dict[str, Any]) -> bool:
    return bool(
        cell["metric"] in _JUDGED and cell["ratio"] and cell["ci"] and not cell.get("withheld") and not cell.get("tls")
    )


def _key(cell: dict[str, Any]) -> tuple[Any, ...]:
    return (*cell["pair"], cell["metric"], cell["payload_bytes"], cell["network"], cell["view"], cell.get("model"))
