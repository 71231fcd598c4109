"""From situations to rows with intervals and to a judgement of each pair. Pure.

The block is the unit: an interval is Student's over the blocks' figures. Where all blocks say 0 or all say 1, they show no
spread, and the interval of a share is the exact one of all calls together (Clopper and Pearson 1934).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.comparison.analysis.quantiles import proportion
from crossover.comparison.analysis.statistics import Interval, holm, mean_interval, t_test
from crossover.comparison.design.arms import AGAIN, PAIRS, REFERENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

SCHEMA = "crossover.faults/1.0"
EVENTS = ("kill", "restart", "half-open", "loss", "overload", "slow-reader")
LATE_MS = 50.0
"""Calls that left later than this made the generator part of what was measured."""
NO_MATTER = 0.01
"""Shares of failed calls that differ by less than one in a hundred are called equal."""
FEWEST_BLOCKS = 3
"""Two blocks that happen to agree show no spread, and so would decide anything."""
GRPC, REST, EQUAL, UNDECIDED = "gRPC", "REST", "equal", "undecided"


def rows(seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each event and arm: shares 0 to 1, seconds, milliseconds; intervals are [low, mean, high] or null."""
    by_situation: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for each in seen:
        by_situation.setdefault((each["event"], each["arm"]), []).append(each)
    ordered = sorted(by_situation.items(), key=lambda item: (EVENTS.index(item[0][0]), item[0][1]))
    return [_row(event, arm, found) for (event, arm), found in ordered]


def _row(event: str, arm: str, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    calls = sum(each["calls"] for each in found)
    recovered = [each["recovered_s"] for each in found if each["recovered_s"] is not None]
    late = max(each["late_ms"] for each in found)
    return {
        "event": event,
        "arm": arm,
        "blocks": len(found),
        "calls": calls,
        "failed": dict(sum((Counter(each["failed"]) for each in found), Counter())),
        "wrong": sum(each["wrong"] for each in found),
        "failed_share": _share([_failed(each) for each in found], calls),
        "wrong_share": _share([each["wrong"] / max(1, each["calls"]) for each in found], calls),
        "goodput": _interval([each["goodput"] for each in found]),
        "recovered_s": _interval(recovered),
        "never": len(found) - len(recovered),
        "lasted_s": _interval([each["lasted_s"] for each in found]),
        "p99_ms": _interval([each["p99_ms"] for each in found if each["p99_ms"] is not None]),
        "withheld": f"the generator was {late:.0f} ms late" if late > LATE_MS else None,
    }


def _failed(each: dict[str, Any]) -> float:
    return float(sum(each["failed"].values()) / max(1, each["calls"]))


def _share(values: Sequence[float], calls: int) -> list[float | None]:
    if len(set(values)) == 1 and values[0] in (0.0, 1.0) and calls:
        exact = proportion(round(values[0] * calls), calls)
        return [exact.low, exact.estimate, exact.high]
    low, mean, high = _interval(values)
    return [None if low is None else max(0.0, low), mean, None if high is None else min(1.0, high)]


def _interval(values: Sequence[float]) -> list[float | None]:
    """[low, mean, high]; one block has no interval, and none no mean."""
    found = mean_interval(values)
    if found is None:
        return [None, values[0] if values else None, None]
    return [max(0.0, found.low), found.estimate, found.high]


def judgements(seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each declared pair whose arms were tried, and the A/A pair: by how much the first arm fails more, block by block."""
    arms = {each["arm"] for each in seen}
    pairs = [pair.key for pair in PAIRS if set(pair.key) <= arms]
    pairs += [(AGAIN, REFERENCE)] if {AGAIN, REFERENCE} <= arms else []
    withheld = {(row["event"], row["arm"]): row["withheld"] for row in rows(seen)}
    found: list[dict[str, Any]] = []
    for event in EVENTS:
        for pair in pairs:
            differences = _paired(seen, event, pair)
            if differences:
                why = withheld[event, pair[0]] or withheld[event, pair[1]]
                found.append({"event": event, "pair": list(pair), "blocks": len(differences), "withheld": why,
                              "more_failed": differences})  # fmt: skip
    p_values = holm([t_test(each["more_failed"]) for each in found])
    for each, p_value in zip(found, p_values, strict=True):
        interval = mean_interval(each["more_failed"])
        is_open = each["withheld"] or each["blocks"] < FEWEST_BLOCKS
        each["verdict"] = UNDECIDED if is_open else verdict(interval, p_value)
        each["holm_p"] = p_value
        each["more_failed"] = _signed(interval, each["more_failed"])
    return found


def _paired(seen: Sequence[dict[str, Any]], event: str, pair: tuple[str, str]) -> list[float]:
    shares = {(each["block"], each["arm"]): _failed(each) for each in seen if each["event"] == event}
    blocks = sorted({block for block, _ in shares})
    return [
        shares[block, pair[0]] - shares[block, pair[1]]
        for block in blocks
        if all((block, arm) in shares for arm in pair)
    ]


def _signed(interval: Interval | None, values: Sequence[float]) -> list[float | None]:
    if interval is None:
        return [None, float(np.mean(values)), None]
    return [interval.low, interval.estimate, interval.high]


def verdict(more_failed: Interval | None, p_value: float) -> str:
    """Which side loses less: its interval leaves 0 out, and so does Holm's p-value; equal: all of it is no matter."""
    if more_failed is None:
        return UNDECIDED
    if more_failed.low > -NO_MATTER and more_failed.high < NO_MATTER:
        return EQUAL
    if more_failed.covers(0) or p_value >= 0.05:
        return UNDECIDED
    return REST if more_failed.low > 0 else GRPC
