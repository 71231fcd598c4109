"""The network map: which side is better, by payload and network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from crossover.comparison.design import naming
from crossover.comparison.report import words
from crossover.comparison.report.figures import style
from crossover.comparison.report.figures.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FARTHEST = math.log(4)
"""Ratios of four and more, or a quarter and less, have the full colour."""
_LETTERS = {"grpc": "gRPC", "rest": "REST", "equal": "equal", "undecided": "?", "invalid": "invalid"}


def network_map(summary: dict[str, Any]) -> Picture | None:
    """The ratio of median latencies by network and payload, a panel a pair; None with fewer than two networks."""
    networks = list(dict.fromkeys(cell["network"] for cell in summary["cells"]))
    if len(networks) < 2:
        return None
    pairs = words.pairs(summary)
    figure, axes = style.panels(len(pairs), height=1.6 + 0.5 * len(networks), share_y=True)
    told: list[str] = []
    for axis, pair in zip(axes, pairs, strict=True):
        cells = words.cells_of(summary, pair, "p50")
        payloads = sorted({cell["payload_bytes"] for cell in cells})
        _panel(axis, cells, networks, payloads)
        axis.set_title(f"{pair[0]} / {pair[1]}")
        told += [
            f"{pair[0]}/{pair[1]} over {cell['network']} at {naming.size(cell['payload_bytes'])}: {words.judged(cell)}"
            for cell in cells
        ]
    return Picture(
        "networks", "Median latency by network and payload: ratio gRPC / REST and verdict",
        "Network map. " + "; ".join(told) + ".", figure,
    )  # fmt: skip


def _panel(axis: Axes, cells: list[dict[str, Any]], networks: list[str], payloads: list[int]) -> None:
    values = np.full((len(networks), len(payloads)), np.nan)
    for cell in cells:
        place = networks.index(cell["network"]), payloads.index(cell["payload_bytes"])
        if cell["ratio"] is not None:
            values[place] = math.log(cell["ratio"])
        text = _LETTERS[cell["verdict"]] + (f"\n{cell['ratio']:.2f}" if cell["ratio"] is not None else "")
        axis.text(place[1], place[0], text, ha="center", va="center", fontsize=8.5, color="#101418")
    colours = mpl.colors.LinearSegmentedColormap.from_list("sides", ["#8fa8b9", "#eceff2", "#c4b37f"])
    axis.imshow(values, cmap=colours, vmin=-_FARTHEST, vmax=_FARTHEST, aspect="auto")
    axis.set_xticks(range(len(payloads)), [naming.size(payload) for payload in payloads])
    axis.set_yticks(range(len(networks)), networks)
    axis.grid(visible=False)
    axis.set_xlabel("tensor bytes each way")
