"""Whether the lab may be believed: the A/A pair around 1, and the known delay around its true length."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl

from crossover.comparison.report import words
from crossover.comparison.report.figures import style
from crossover.comparison.report.figures.style import Picture

_NAMES = {"alone": "p50", "alone_cpu": "cpu"}
"""A metric of calls one at a time, as the axis names it; the known delay has no other."""

_WIDE = 10.0
"""Intervals over so large a factor are drawn on a logarithmic axis: on a linear one the narrow ones would be points."""


def controls(summary: dict[str, Any]) -> Picture | None:
    """A/A ratios with intervals beside recovered shares of the known delay."""
    again = [found for found in summary["controls"]["again"] if found["metric"] in {"p50", "cpu"}]
    delays = summary["controls"]["known_delay"]
    if not again and not delays:
        return None
    figure, (left, right) = style.panels(2, height=1.2 + 0.3 * max(len(again), len(delays)))
    for y, found in enumerate(again):
        low, estimate, high = found["ratio"]
        _point(left, y, low, estimate, high, good=found["covers_1"])
    left.axvline(1, color=style.INK, linewidth=0.8)
    left.set_yticks(range(len(again)), [f"{f['arm']}, {f['metric']}  {f['where']}" for f in again])
    if again and max(found["ratio"][2] for found in again) > _WIDE * min(found["ratio"][0] for found in again):
        left.set_xscale("log")
        left.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        left.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    left.set_ylim(max(1, len(again)) - 0.5, -0.5)
    left.set_title("A/A: the same arm twice")
    left.set_xlabel("ratio; its interval should hold 1")
    for y, found in enumerate(delays):
        low, estimate, high = (value / found["known_us"] for value in found["found_us"])
        _point(right, y, low, estimate, high, good=found["status"] == "recovered")
    right.axvspan(0.9, 1.1, color=style.BAND, linewidth=0)
    right.axvline(1, color=style.INK, linewidth=0.8)
    labels = [f"{_NAMES.get(f['metric'], f['metric'])}, {f['where']} ({f['known_us']:.0f} µs)" for f in delays]
    right.set_yticks(range(len(delays)), labels)
    right.set_ylim(max(1, len(delays)) - 0.5, -0.5)
    right.set_title("Known delay: share recovered")
    right.set_xlabel("found / known")
    return Picture("controls", "Controls", "Controls. " + " ".join(words.controls(summary)), figure)


def _point(axis: Any, y: int, low: float, estimate: float, high: float, *, good: bool) -> None:
    colour = style.INK if good else style.VERDICT_COLOURS["invalid"]
    axis.plot([low, high], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axis.plot(estimate, y, marker="o", markersize=6, color=colour)
