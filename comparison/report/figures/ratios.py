"""Ratios of gRPC over REST: the forest plot of all headline cells, and the ratio against the payload."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from crossover.comparison.analysis.statistics import EQUIVALENCE
from crossover.comparison.design import naming
from crossover.comparison.report import words
from crossover.comparison.report.figures import style
from crossover.comparison.report.figures.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_METRICS = ("p50", "cpu")
_LINES = ("-", "--", ":", "-.")
"""One for each condition."""


def forest(summary: dict[str, Any]) -> Picture | None:
    """Every headline cell's ratio and interval, by metric; the band of practical equality is shaded."""
    rows = [(pair, where) for pair in words.pairs(summary) for where in _places(summary, pair)]
    if not rows:
        return None
    figure, axes = style.panels(len(_METRICS), height=0.9 + 0.34 * len(rows), share_y=True)
    for axis, metric in zip(axes, _METRICS, strict=True):
        _band(axis, vertical=True)
        for y, (pair, where) in enumerate(rows):
            _interval(axis, _find(summary, pair, where, metric), y)
        axis.set_xscale("log")
        _ratio_ticks(axis.xaxis)
        axis.set_title(words.METRIC_WORDS[metric])
        axis.set_xlabel("ratio gRPC / REST")
    labels = [f"{pair[0]} / {pair[1]}   {where}" for pair, where in rows]
    axes[0].set_yticks(range(len(rows)), labels)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    told = "; ".join(
        f"{pair[0]}/{pair[1]} at {where}: p50 {_told(summary, pair, where, 'p50')}, "
        f"CPU {_told(summary, pair, where, 'cpu')}"
        for pair, where in rows
    )
    return Picture("forest", "Ratios with 95 % intervals over blocks", f"Forest plot of ratios: {told}.", figure)


def by_payload(summary: dict[str, Any]) -> Picture | None:
    """The ratio against the payload for each pair; where a line passes 1 the answer flips."""
    if len(_payloads(summary)) < 2:
        return None
    figure, axes = style.panels(len(_METRICS), height=4.2, share_y=True)
    for axis, metric in zip(axes, _METRICS, strict=True):
        _band(axis, vertical=False)
        for pair in words.pairs(summary):
            found = [cell for cell in words.cells_of(summary, pair, metric) if cell["ci"]]
            colour = style.of_many(words.pairs(summary).index(pair))
            for style_of, condition in zip(itertools.cycle(_LINES), naming.conditions_of(found), strict=False):
                _line(axis, [cell for cell in found if cell["condition"] == condition], condition, style_of, colour)
        _mark_crossings(
            axis, [each for line in _over_payload(summary) if line["metric"] == metric for each in _sure(line)]
        )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        _ratio_ticks(axis.yaxis)
        axis.set_xticks(_payloads(summary), [naming.size(payload) for payload in _payloads(summary)])
        axis.minorticks_off()
        axis.set_title(words.METRIC_WORDS[metric])
        axis.set_xlabel("tensor bytes each way")
    axes[0].set_ylabel("ratio gRPC / REST")
    style.legend(figure, axes, columns=3)
    flips = [
        f"{found['pair'][0]}/{found['pair'][1]} by {found['metric']} passes 1 near "
        f"{naming.place(crossing['at'], found['condition'])}"
        for found in _over_payload(summary)
        for crossing in _sure(found)
    ]
    told = "; ".join(flips) if flips else "no line passes 1"
    return Picture("by-payload", "Ratio against payload, with crossovers", f"Ratio against payload: {told}.", figure)


_NEAR, _LABEL, _LEVELS = 2.5, 11, 4
"""Crossings within this factor have their labels above each other, so many points apart, and so many high."""


def _mark_crossings(axis: Any, crossings: list[dict[str, Any]]) -> None:
    """A cross where a line passes 1, its payload above it, clear of the label before."""
    before, level = 0.0, 0
    for at in sorted(crossing["at"] for crossing in crossings):
        level = (level + 1) % _LEVELS if at < before * _NEAR else 0
        before = at
        axis.plot(at, 1, marker="x", markersize=8, color=style.INK, zorder=5)
        axis.annotate(
            naming.size(at), (at, 1), xytext=(0, 8 + level * _LABEL), textcoords="offset points",
            ha="center", fontsize=8, color=style.INK,
        )  # fmt: skip


def _over_payload(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [found for found in summary["crossovers"] if found["over"] == "payload"]


def _sure(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The crossings that hold up when blocks are drawn again."""
    return [crossing for crossing in found["crossings"] if crossing["interval"]]


def _payloads(summary: dict[str, Any]) -> list[int]:
    return sorted({cell["payload_bytes"] for cell in summary["cells"]})


def _places(summary: dict[str, Any], pair: list[str]) -> list[str]:
    return list(dict.fromkeys(cell["where"] for cell in words.cells_of(summary, pair, "p50")))


def _find(summary: dict[str, Any], pair: list[str], where: str, metric: str) -> dict[str, Any] | None:
    found = [cell for cell in words.cells_of(summary, pair, metric) if cell["where"] == where]
    return found[0] if found else None


def _told(summary: dict[str, Any], pair: list[str], where: str, metric: str) -> str:
    cell = _find(summary, pair, where, metric)
    return words.judged(cell) if cell else "not measured"


def _interval(axis: Axes, cell: dict[str, Any] | None, y: int) -> None:
    if cell is None or cell["ratio"] is None:
        axis.annotate(
            "invalid" if cell else "not measured",
            (1, y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
        return
    colour = style.VERDICT_COLOURS[cell["verdict"]]
    if cell["ci"]:
        axis.plot(cell["ci"], [y, y], color=colour, linewidth=2.2, solid_capstyle="butt")
    axis.plot(cell["ratio"], y, marker="o", markersize=6, color=colour)
    axis.annotate(
        f"{cell['ratio']:.2f} {cell['verdict']}", (cell["ratio"], y), xytext=(0, 6), textcoords="offset points",
        ha="center", fontsize=7.5, color=style.INK,
    )  # fmt: skip


def _line(axis: Axes, cells: list[dict[str, Any]], condition: str, line: str, colour: str) -> None:
    x = [cell["payload_bytes"] for cell in cells]
    y = [cell["ratio"] for cell in cells]
    low = [cell["ratio"] - cell["ci"][0] for cell in cells]
    high = [cell["ci"][1] - cell["ratio"] for cell in cells]
    name = " / ".join(cells[0]["pair"]) + (f" ({condition})" if condition else "")
    axis.errorbar(x, y, [low, high], marker="o", capsize=3, label=name, color=colour, linestyle=line)


def _band(axis: Axes, *, vertical: bool) -> None:
    shade, line = (axis.axvspan, axis.axvline) if vertical else (axis.axhspan, axis.axhline)
    shade(1 / EQUIVALENCE, EQUIVALENCE, color=style.BAND, linewidth=0)
    line(1, color=style.INK, linewidth=0.8)


def _ratio_ticks(axis: Any) -> None:
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())
