"""The growth of cost as a picture that is readable on light and dark pages."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib import pyplot as plt

from comparison.figures import style

if TYPE_CHECKING:
    from pathlib import Path

    from comparison.bench.growth import Found

_NEUTRAL, _FAINT = "#7d8590", "#7d859055"
_MARKERS = "osD^vP"


def draw(found: Found, path: Path) -> None:
    """CPU per request against what grows, one panel a sweep, both axes logarithmic; written as SVG."""
    figure, grid = plt.subplots(2, 2, figsize=(9.5, 7.2))
    for axis, (title, lines) in zip(grid.ravel(), found.items(), strict=True):
        for (name, costs), marker in zip(lines.items(), _MARKERS, strict=False):
            axis.plot(
                [int(x) for x in costs], list(costs.values()), marker=marker, markersize=4, linewidth=1.4, label=name
            )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_title(title)
        axis.set_ylabel("CPU per request, µs")
        axis.legend(fontsize=7.5)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    path.write_text(buffer.getvalue().replace(style.INK, _NEUTRAL).replace(style.GRID, _FAINT))
