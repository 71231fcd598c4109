"""From situations to a table and to answers: medians over the blocks, with the range that the blocks had. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

FIGURES = (
    "largest", "jain", "p50_ms", "p99_ms", "per_second", "client_cpu_us", "balancer_cpu_us", "joined_s",
)  # fmt: skip
STICKS = 0.9
"""One replica with so much of the load has practically all of it."""
_EVENTS = ("steady", "restart", "slow", "scale-up")
_BALANCERS = ("none", "client", "l4", "l4-age", "l7")
SPREADS = 0.4
"""Of three."""


def rows(seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each event, arm and balancer, in that order; failed calls are added up."""
    by_situation: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for each in seen:
        by_situation.setdefault((each["event"], each["arm"], each["balancer"]), []).append(each)
    return [
        {
            "event": event,
            "arm": arm,
            "balancer": balancer,
            "blocks": len(found),
            "calls": sum(each["calls"] for each in found),
            "failed": dict(sum((Counter(each["failed"]) for each in found), Counter())),
            "never_joined": sum(event == "scale-up" and each["joined_s"] is None for each in found),
            **{name: _spread([each[name] for each in found]) for name in FIGURES},
        }
        for (event, arm, balancer), found in sorted(by_situation.items(), key=lambda item: _place(item[0]))
    ]


def _place(situation: tuple[str, str, str]) -> tuple[int, str, int]:
    event, arm, balancer = situation
    return _EVENTS.index(event), arm, _BALANCERS.index(balancer)


def answers(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """When gRPC sticks, whether REST does, and what each cure costs, in sentences from the rows."""
    steady = {(row["arm"], row["balancer"]): row for row in rows if row["event"] == "steady"}
    found = []
    for kind, question in (("grpc", "When does gRPC stick?"), ("rest", "Does REST stick too?")):
        parts = [
            f"{arm} behind {_NAMES[balancer]}: {_verdict(row)}"
            for (arm, balancer), row in steady.items()
            if arm.startswith(kind)
        ]
        if parts:
            found.append((question, "; ".join(parts) + "."))
    costs = []
    for (arm, balancer), row in steady.items():
        plain = steady.get((arm, "none"))
        if plain is None or balancer == "none" or not (plain["p50_ms"] and row["p50_ms"]):
            continue
        own = (
            f", {row['balancer_cpu_us']['median']:.0f} us of CPU a call in the balancer"
            if row["balancer_cpu_us"]
            else ""
        )
        client = row["client_cpu_us"]["median"] - plain["client_cpu_us"]["median"]
        costs.append(
            f"{arm} behind {_NAMES[balancer]}: {client:+.0f} us of CPU a call in the client{own}, and "
            f"{row['per_second']['median'] / plain['per_second']['median']:.2f} times the calls a second of one address"
        )
    if costs:
        found.append(("What does each cure cost?", "; ".join(costs) + "."))
    return found


_NAMES = {
    "none": "no balancer", "client": "client-side balancing", "l4": "L4", "l4-age": "L4 with a connection age", "l7": "L7",
}  # fmt: skip


def _verdict(row: dict[str, Any]) -> str:
    share = row["largest"]["median"]
    word = "sticks" if share >= STICKS else "spreads" if share <= SPREADS else "spreads unevenly"
    return f"{word} (largest share {share:.2f})"


def _spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Median, least and most of those that there are."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    return {"median": statistics.median(known), "least": min(known), "most": max(known)}
