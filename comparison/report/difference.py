"""`diff RUN RUN`: which ratios changed between two runs beyond what their blocks vary, and what else changed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from crossover.comparison.analysis import statistics as st
from crossover.comparison.analysis.distributions import t_above, t_quantile
from crossover.comparison.analysis.whole import Analysis, Asked
from crossover.comparison.design import naming, samples
from crossover.comparison.report import terminal

if TYPE_CHECKING:
    from pathlib import Path

METRICS = frozenset({"p50", "cpu"})
_MACHINE = ("processor", "cpus", "kernel", "memory_bytes", "hypervisor", "clocksource", "python", "sysctls")
_VERSIONS = ("commit", "packages", "grpc_experiments", "grpc_poller")
_SLOWER = 1.15
"""A step of the calibration that takes so many times as long is named; by less it varies on one machine."""


class NothingInCommonError(ValueError):
    """Two runs that cannot be compared, and why, in one sentence."""


def compared(before: Path, after: Path) -> dict[str, Any]:
    """Every cell that both runs have with the change of its ratio, and what changed of machine and versions.

    NothingInCommonError where no cell asks the same question of the same services in both.
    """
    old, new = Analysis(samples.read(before)), Analysis(samples.read(after))
    _check(old, new)
    rows = changes(old, new)
    if not rows:
        raise NothingInCommonError(
            "the two runs have no cell in common that both judge in two blocks or more (same pair, payload, connections, "
            "network, load and metric)"
        )
    return {
        "before": str(before),
        "after": str(after),
        "cells": rows,
        "changed": sum(row["significant"] for row in rows),
        "machine": _changed(before, after, _MACHINE),
        "versions": _changed(before, after, _VERSIONS),
        "calibration": _calibrated(before, after),
    }


def _check(old: Analysis, new: Analysis) -> None:
    one, other = old.samples.experiment, new.samples.experiment
    for name, a, b in (
        ("services", one.services, other.services),
        ("model", one.model, other.model),
        ("TLS", one.options.get("tls"), other.options.get("tls")),
        ("bytes of the reply", one.options.get("reply_bytes"), other.options.get("reply_bytes")),
    ):
        if a != b:
            raise NothingInCommonError(f"the two runs cannot be compared: {name} is {a} in one, {b} in the other")
    work = [found.options.get("work") if found.model == "work" else None for found in (one, other)]
    if work[0] != work[1]:
        raise NothingInCommonError(
            f"the two runs cannot be compared: the model's work is {work[0]} in one, {work[1]} in the other"
        )


def _changed(before: Path, after: Path, names: tuple[str, ...]) -> dict[str, list[Any]]:
    """What of the two runs' provenance is not the same, as [before, after]; packages and sysctls each by itself."""
    one, other = (_flat(_provenance(folder), names) for folder in (before, after))
    return {
        name: [one.get(name), other.get(name)] for name in sorted({*one, *other}) if one.get(name) != other.get(name)
    }


def _calibrated(before: Path, after: Path) -> dict[str, float]:
    """How many times as long each basic step takes on the second run's machine, where both were calibrated."""
    one, other = (_provenance(folder).get("calibration") or {} for folder in (before, after))
    return {name: other[name] / one[name] for name in naming.STEPS if one.get(name) and other.get(name)}


def explained(calibration: dict[str, float]) -> str:
    """What the machines' basic steps say of changed ratios, in one sentence; empty where neither run was calibrated.

    A ratio changes where the two wires use a step differently: gRPC by grpcio takes more context switches and syscalls,
    JSON more bytecode, large payloads more copies.
    """
    if not calibration:
        return ""
    told = [f"{naming.STEPS[name]} takes {ratio:.2f} times as long" for name, ratio in calibration.items()
            if not 1 / _SLOWER <= ratio <= _SLOWER]  # fmt: skip
    if not told:
        return "The machines' basic steps (syscall, context switch, copy, cache, bytecode, TLS) take the same time."
    spread = max(calibration.values()) / min(calibration.values())
    if spread <= _SLOWER:
        return f"All basic steps take about {sum(calibration.values()) / len(calibration):.2f} times as long: ratios should hold."
    return f"On the second machine {'; '.join(told)}: ratios of wires that use these differently change with them."


def _provenance(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "provenance.json").read_text()))
    except (OSError, ValueError):
        return {}


def _flat(document: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        value = document.get(name)
        found |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return found


def show(found: dict[str, Any]) -> None:
    """Print what `compared` found."""
    console = terminal.console()
    title = f"Ratio gRPC / REST: {found['before']} to {found['after']}"
    table = Table(title=title, title_justify="left")
    for name in ("pair", "payload", "metric", "before", "after", "change (95 % interval)", "beyond noise"):
        table.add_column(name)
    lines = []
    for row in found["cells"]:
        at = naming.place(row["payload_bytes"], row["condition"])
        change = f"{row['change']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
        numbers = (f"{row['before']:.3f}", f"{row['after']:.3f}")
        table.add_row(
            " / ".join(row["pair"]), at, row["metric"], *numbers, change, "yes" if row["significant"] else "no"
        )
        lines.append(
            f"{' / '.join(row['pair'])} at {at}, {row['metric']}: {' to '.join(numbers)}, change {change}, "
            f"{'beyond noise' if row['significant'] else 'within noise'}"
        )
    terminal.print_fitting(console, table, lines)
    for name in ("machine", "versions"):
        changed = "; ".join(f"{key} {a} to {b}" for key, (a, b) in found[name].items())
        console.print(Text(f"{name.capitalize()}: {changed or 'the same'}."))
    if text := explained(found["calibration"]):
        console.print(Text(text))
    if found["changed"] and found["machine"]:
        console.print(Text("The machines differ: a changed ratio may be theirs and not the code's."))


def changes(before: Analysis, after: Analysis) -> list[dict[str, Any]]:
    """For each cell in both, after / before with Welch's interval; significance after Holm over all of them."""
    old = {_key(before, asked): before.differences(asked) for asked in before.judgements}
    new = {_key(after, asked): after.differences(asked) for asked in after.judgements}
    shared = [key for key in old if key in new and min(len(old[key]), len(new[key])) >= 2 and key[-1] in METRICS]
    adjusted = st.holm([_p_value(old[key], new[key]) for key in shared])
    return [_row(key, old[key], new[key], p) for key, p in zip(shared, adjusted, strict=True)]


def _key(analysis: Analysis, asked: Asked) -> tuple[Any, ...]:
    cell = analysis.cells[asked.cell]
    condition = ", ".join(filter(None, (cell.case, *naming.factors_of(cell))))
    return (*asked.pair.key, cell.view, cell.payload_bytes, condition, asked.metric)


def _p_value(old: st.Floats, new: st.Floats) -> float:
    if float(np.var(old) + np.var(new)) == 0:
        return 1.0 if math.isclose(float(old.mean()), float(new.mean())) else 0.0
    error, freedom = _welch(old, new)
    return float(2 * t_above(abs(float(new.mean() - old.mean())) / error, freedom))


def _welch(old: st.Floats, new: st.Floats) -> tuple[float, float]:
    """The standard error of the difference of two means, and its degrees of freedom (Welch 1947)."""
    parts = float(old.var(ddof=1)) / len(old), float(new.var(ddof=1)) / len(new)
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(old) - 1) + parts[1] ** 2 / (len(new) - 1)) if error else 1.0
    return error, freedom


def _row(key: tuple[Any, ...], old: st.Floats, new: st.Floats, p: float) -> dict[str, Any]:
    change = float(new.mean() - old.mean())
    error, freedom = _welch(old, new)
    reach = float(t_quantile((1 + st.CONFIDENCE) / 2, freedom)) * error
    return {
        "pair": list(key[:2]),
        "payload_bytes": key[3],
        "condition": key[4],
        "metric": key[-1],
        "before": math.exp(float(old.mean())),
        "after": math.exp(float(new.mean())),
        "change": math.exp(change),
        "low": math.exp(change - reach),
        "high": math.exp(change + reach),
        "p_value": p,
        "significant": p < 1 - st.CONFIDENCE,
    }
