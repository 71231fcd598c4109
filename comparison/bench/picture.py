"""The growth of cost as a picture that is readable on light and dark pages."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

from crossover.comparison.bench import growth
from crossover.comparison.report.figures import style

if TYPE_CHECKING:
    from pathlib import Path

    from crossover.comparison.bench.growth import Found

_NEUTRAL, _FAINT = "#7d8590", "#7d859055"
_COLOURS = ("#1f83c4", "#d55e00", "#009e73", "#b07aa1", "#e69f00", "#9a7b4f", "#56b4e9", "#8c8c8c", "#c0392b")
_MARKERS = "osD^vPX*h"


def draw(found: Found, path: Path) -> None:
    """CPU per request against what grows, one panel a sweep, both axes logarithmic; written as SVG."""
    names = list(dict.fromkeys(name for lines in found.values() for name in lines))
    looks = dict(zip(names, zip(_COLOURS, _MARKERS, strict=True), strict=False))
    figure, grid = plt.subplots(2, 2, figsize=(9.5, 8))
    for axis, (title, lines) in zip(grid.ravel(), found.items(), strict=True):
        for name, costs in lines.items():
            colour, marker = looks[name]
            xs = [int(x) for x in costs]
            axis.plot(xs, list(costs.values()), color=colour, marker=marker, markersize=4, linewidth=1.4, label=name)
        axis.set_xscale("log", base=2)
        axis.set_xticks(xs, [growth.short(x) for x in xs])
        axis.set_yscale("log")
        axis.set_ylim(10, None if "payload" in title else 2000)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(title)
        axis.set_ylabel("CPU per request, µs")
    handles = {
        label: handle for axis in grid.ravel() for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8.5)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    path.write_text(buffer.getvalue().replace(style.INK, _NEUTRAL).replace(style.GRID, _FAINT))
