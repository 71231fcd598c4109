"""Latency against rate: every rate that the searches tried, the goal, and the bracket of each arm's capacity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from crossover.comparison.design.arms import CONTROLS
from crossover.comparison.report.figures import style
from crossover.comparison.report.figures.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from crossover.comparison.analysis.measures import Measures

_HIGHEST = 8.0
"""Latencies over so many times the goal are drawn at the edge: beyond saturation only the length of the try shows."""


def latency_against_rate(measures: Measures, summary: dict[str, Any]) -> Picture | None:
    """95th percentile of latency by rate, an arm a colour, a panel a cell; None when nothing was searched."""
    rows = [row for row in summary["arms"] if row["capacity"] and row["arm"] not in CONTROLS]
    if not rows:
        return None
    cells = list(dict.fromkeys(row["cell"] for row in rows))
    figure, axes = style.panels(len(cells), height=3.4)
    for axis, c in zip(axes, cells, strict=True):
        shown = [row for row in rows if row["cell"] == c]
        for row in shown:
            _arm(axis, measures.searches(c, row["arm"]), row)
        _axes(axis, shown[0])
    axes[0].set_ylabel("95th percentile of latency, ms")
    style.legend(figure, axes)
    told = "; ".join(
        f"{row['arm']} at {row['where']}: between {row['capacity']['low']:.0f} and {row['capacity']['high']:.0f} requests/s"
        for row in rows
    )
    goal = rows[0]["capacity"]["goal_ms"]
    title = f"Latency against rate; the shaded rates bracket the capacity at {goal:g} ms"
    return Picture("capacity", title, f"Capacity at {goal:g} ms. {told}.", figure)


def _arm(axis: Axes, searches: list[dict[str, Any]], row: dict[str, Any]) -> None:
    colour, found = style.colour(row["arm"]), row["capacity"]
    highest = _HIGHEST * found["goal_ms"]
    points = sorted(
        (rate, min(latency, highest) if latency is not None else highest)
        for item in searches
        for rate, _, latency, _ in item["tried"]
    )
    axis.plot(
        [rate for rate, _ in points], [latency for _, latency in points], linestyle="none", marker="o", markersize=3.5,
        alpha=0.6, color=colour, label=row["arm"],
    )  # fmt: skip
    axis.axvspan(found["low"], found["high"], color=colour, alpha=0.25, linewidth=0)


def _axes(axis: Axes, row: dict[str, Any]) -> None:
    axis.axhline(row["capacity"]["goal_ms"], color=style.INK, linewidth=0.8, linestyle="--")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axis.set_xlabel("requests/s, open loop")
    axis.set_title(row["where"])
