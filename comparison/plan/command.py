"""`python -m comparison plan`: what a rate of requests takes over each wire, from figures that were measured."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison.commands import OK, refuse
from crossover.comparison.design.arms import ARMS
from crossover.comparison.design.samples import SamplesError
from crossover.comparison.options import UsageError, add_price_arguments, prices
from crossover.comparison.plan import figures
from crossover.comparison.plan.arithmetic import Wish, first_shared, planned
from crossover.comparison.plan.figures import Figures, FiguresError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from crossover.comparison.plan.arithmetic import Span


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--rps", type=float, required=True, metavar="N", help="requests a second")
    add("--payload", type=int, required=True, metavar="BYTES", help="bytes of a request's tensors")
    add("--model-ms", type=float, default=0.0, metavar="MS", help="CPU time of the model a request (default: 0)")
    add("--run", type=Path, metavar="RUN", help="a run's folder (default: the figures in docs/findings.md)")
    add("--arms", nargs="+", metavar="ARM", help="wires of the figures (default: all)")
    add("--vcpus", type=int, default=16, metavar="N", help="of one machine (default: 16)")
    add("--nic-gbit", type=float, default=10.0, metavar="N", help="Gbit/s of one machine's network card (default: 10)")
    add_price_arguments(parser)
    add("--json", action="store_true", help="print the plan, with the figures that it is made from, as JSON")


def run(given: argparse.Namespace) -> int:
    try:
        wish = _wish(given)
        found = figures.of_run(given.run) if given.run else figures.published()
        plans = {arm: planned(ARMS[arm].kind, found.at(arm, wish.payload), wish) for arm in _arms(given, found)}
    except (UsageError, FiguresError, SamplesError) as error:
        return refuse(str(error))
    if given.json:
        document = {"schema": "crossover.plan/1.0", "rps": wish.rps, "payload_bytes": wish.payload,
                    "model_ms": wish.model_ms, "plans": plans, "figures": found.document()}  # fmt: skip
        json.dump(document, sys.stdout, indent=1, allow_nan=False)
        print()
        return OK
    print("\n".join(lines(found.source, wish, plans)))
    return OK


def _wish(given: argparse.Namespace) -> Wish:
    for name, value, least, most in (
        ("--rps", given.rps, 1e-3, 1e12), ("--payload", given.payload, 1, 1 << 30), ("--model-ms", given.model_ms, 0, 1e6),
        ("--vcpus", given.vcpus, 1, 4096), ("--nic-gbit", given.nic_gbit, 1e-3, 1e5),
    ):  # fmt: skip
        if not (math.isfinite(value) and least <= value <= most):
            raise UsageError(f"{name} takes values from {least:g} to {most:g}, not {value:g}")
    return Wish(given.rps, given.payload, given.model_ms, given.vcpus, given.nic_gbit, prices(given))


def _arms(given: argparse.Namespace, found: Figures) -> list[str]:
    arms = list(dict.fromkeys(given.arms or found.arms))
    for arm in arms:
        if arm not in found.arms:
            raise UsageError(f"--arms: there are no figures for '{arm[:40]}'; there are for {', '.join(found.arms)}")
    return arms


def _number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        rounded = round(value, 2 - math.floor(math.log10(value)))
        return f"{rounded:,.0f}"
    return f"{value:.3g}"


_ROWS: tuple[tuple[str, Callable[[dict[str, Any]], Span], Callable[[float], str]], ...] = (
    ("gateway cores", lambda plan: plan["cores"]["gateway"], _number),
    ("model-server cores", lambda plan: plan["cores"]["model_server"], _number),
    ("gateway machines", lambda plan: plan["machines"]["gateway"], lambda value: f"{value:,.0f}"),
    ("model-server machines", lambda plan: plan["machines"]["model_server"], lambda value: f"{value:,.0f}"),
    ("connections", lambda plan: plan["connections"], _number),
    ("calls under way", lambda plan: plan["under_way"], _number),
    ("hop, Gbit/s", lambda plan: plan["hop_gbit"], _number),
    ("cost a million requests", lambda plan: plan["cost_per_million"], lambda value: f"{value:.3f}"),
    ("cost an hour", lambda plan: plan["cost_per_hour"], _number),
)


def lines(source: str, wish: Wish, plans: dict[str, dict[str, Any]]) -> list[str]:
    """The plan as text: means, with 95 % intervals."""
    used = wish.prices.utilisation
    asked = f"{wish.rps:,.0f} requests/s of {wish.payload:,} bytes, model {wish.model_ms:g} ms"
    text = [
        f"{asked}; machines of {wish.vcpus} vCPUs, {used:.0%} used, {wish.nic_gbit:g} Gbit/s",
        f"figures: {source}",
        "",
    ]
    names = [f"{arm} ({plan['how']})" for arm, plan in plans.items()]
    rows = [["", *names]] + [
        [title, *(_text(value(plan), written) for plan in plans.values())] for title, value, written in _ROWS
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    text += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for arm, plan in plans.items():
        first = first_shared(plan)
        text += ["", f"{arm}: what is used up at how many requests/s; of what is shared, first {first['what']}"]
        text += [
            f"  {_text(limit['rps'], _number):>32}  {limit['what']}; then {limit['then']}" for limit in plan["limits"]
        ]
    return text


def _text(span: Span, written: Callable[[float], str]) -> str:
    low, mean, high = span
    if mean is None:
        return "not counted"
    if low is None or high is None:
        return written(mean)
    reach = written(low), written(high)
    return written(mean) if reach[0] == reach[1] else f"{written(mean)} ({reach[0]} to {reach[1]})"
