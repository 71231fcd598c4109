"""How every figure looks, and how it gets into the page: SVG whose text and lines take the page's own colours."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GRID, BAND = "#010203", "#040506", "#070809"
"""Stand-ins that the page replaces by its own colours, so that one picture serves light and dark."""
_PAGE_COLOURS = {INK: "currentColor", GRID: "var(--grid)", BAND: "var(--band)"}

ARM_COLOURS = {
    "rest": "#d55e00",
    "rest-binary": "#e69f00",
    "grpc": "#1f83c4",
    "grpc-typed": "#56b4e9",
    "grpc-stream": "#009e73",
    "grpc-lean": "#0b4f7d",
    "grpc-lean-both": "#7a6fd0",
    "grpc-again": "#8c8c8c",
    "control": "#cc79a7",
    "inprocess": "#9a7b4f",
    "rest-protobuf": "#b8325e",
    "rest-fastapi": "#8c4a1b",
    "rest-stock": "#f28e6b",
    "rest-stock-binary": "#c9b53a",
    "grpc-json": "#5f9ea0",
    "grpc-stock": "#59a14f",
    "grpc-stock-raw": "#2f6b2a",
}
VERDICT_COLOURS = {
    "grpc": "#1f83c4",
    "rest": "#d55e00",
    "equal": "#00795a",
    "undecided": "#6b6b6b",
    "invalid": "#b3261e",
}
_MOST_IN_A_ROW = 3
_MORE = ("#b07aa1", "#59a14f", "#edc948", "#76b7b2", "#ff9da7", "#9c755f")

_RC: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.transparent": True,
}

mpl.rcParams.update(_RC)


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure with the words that stand for it."""

    name: str
    title: str
    alternative: str
    """What the picture shows, for who cannot see it."""
    figure: Figure

    def svg(self) -> str:
        """The picture as an inline SVG element; it follows the page's colours."""
        buffer = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        for stand_in, colour in _PAGE_COLOURS.items():
            text = text.replace(stand_in, colour)
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
        # Ids are unique in the page, not only in the picture.
        text = re.sub(r'id="([^"]+)"', rf'id="{self.name}-\1"', text)
        text = re.sub(r'(href="#|url\(#)', rf"\1{self.name}-", text)
        label = f'role="img" aria-label="{escape(self.alternative, quote=True)}"'
        return text.replace("<svg ", f"<svg {label} ", 1)


def colour(arm: str) -> str:
    """An arm's colour, the same in every figure."""
    return ARM_COLOURS.get(arm) or _MORE[sum(arm.encode()) % len(_MORE)]


_PAIRS = ("#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#aa4499", "#6e6e6e")
"""Tol's muted scheme: none of them is an arm's or a verdict's colour."""


def of_many(index: int) -> str:
    """A colour for the line with this number, for lines that are no arms."""
    return _PAIRS[index % len(_PAIRS)]


def legend(figure: Figure, axes: list[Axes], columns: int = 4) -> None:
    """One legend for all panels, below them, where it hides nothing."""
    found = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    if found:
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns, fontsize=8)


def panels(count: int, height: float = 3.0, width: float = 9.4, *, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """`count` panels, in rows of at most three; `height` is that of a row."""
    columns = min(count, _MOST_IN_A_ROW)
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(width, rows * height), squeeze=False, sharey=share_y)
    plt.close(figure)
    for unused in axes.ravel()[count:]:
        unused.set_visible(False)
    return figure, list(axes.ravel()[:count])
