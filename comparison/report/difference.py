"""`diff RUN RUN`: which ratios changed between two runs beyond what their blocks vary."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from scipy import stats

from crossover.comparison.analysis import statistics as st
from crossover.comparison.analysis.whole import Analysis, Asked
from crossover.comparison.experiment import naming, samples
from crossover.comparison.report import terminal

if TYPE_CHECKING:
    from pathlib import Path


def show(before: Path, after: Path) -> None:
    """Print every cell that both runs have, with the change of its ratio."""
    rows = changes(Analysis(samples.read(before)), Analysis(samples.read(after)))
    console = terminal.console()
    if not rows:
        console.print("The two runs have no cell in common (same pair, payload, concurrency, network and metric).")
        return
    table = Table(title=f"Ratio gRPC / REST: {before} to {after}", title_justify="left")
    for name in ("pair", "payload", "metric", "before", "after", "change (95 % interval)", "beyond noise"):
        table.add_column(name)
    for row in rows:
        table.add_row(
            " / ".join(row["pair"]), naming.place(row["payload_bytes"], row["condition"]), row["metric"], f"{row['before']:.3f}",
            f"{row['after']:.3f}", f"{row['change']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
            "yes" if row["significant"] else "no",
        )  # fmt: skip
    console.print(table)


def changes(before: Analysis, after: Analysis) -> list[dict[str, Any]]:
    """For each cell in both, after / before with Welch's interval; significance after Holm over all of them."""
    old = {_key(before, asked): before.differences(asked) for asked in before.judgements}
    new = {_key(after, asked): after.differences(asked) for asked in after.judgements}
    shared = [key for key in old if key in new and min(len(old[key]), len(new[key])) >= 2 and key[-1] in {"p50", "cpu"}]
    adjusted = st.holm([_p_value(old[key], new[key]) for key in shared])
    return [_row(key, old[key], new[key], p) for key, p in zip(shared, adjusted, strict=True)]


def _key(analysis: Analysis, asked: Asked) -> tuple[Any, ...]:
    cell = analysis.cells[asked.cell]
    return (*asked.pair.key, cell.view, cell.payload_bytes, ", ".join(naming.factors_of(cell)), asked.metric)


def _p_value(old: st.Floats, new: st.Floats) -> float:
    if float(np.var(old) + np.var(new)) == 0:
        return 1.0 if math.isclose(float(old.mean()), float(new.mean())) else 0.0
    return float(stats.ttest_ind(new, old, equal_var=False).pvalue)


def _row(key: tuple[Any, ...], old: st.Floats, new: st.Floats, p: float) -> dict[str, Any]:
    change = float(new.mean() - old.mean())
    parts = float(old.var(ddof=1)) / len(old), float(new.var(ddof=1)) / len(new)
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(old) - 1) + parts[1] ** 2 / (len(new) - 1)) if error else 1.0
    reach = float(stats.t.ppf((1 + st.CONFIDENCE) / 2, freedom)) * error
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
        "significant": p < 1 - st.CONFIDENCE,
    }
