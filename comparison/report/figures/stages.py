"""Where a request's time goes: one bar an arm, station after station."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.comparison.analysis import stages, summary
from crossover.comparison.report.figures import style
from crossover.comparison.report.figures.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from crossover.comparison.design.samples import Samples

_COLOURS = {
    "client encodes": "#5f86a1",
    "to the gateway": "#b9c2ca",
    "gateway decodes": "#8fa8b9",
    "gateway encodes": "#5f86a2",
    "to the model server": "#3f4a57",
    "server decodes": "#b3a06b",
    "queue": "#d8c9a4",
    "compute": "#8c7a40",
    "server encodes": "#c4b37f",
    "back to the gateway": "#6a7683",
    "gateway decodes the reply": "#a99bc1",
    "gateway encodes the reply": "#c6bcd6",
    "back to the client": "#d3dae0",
    "client decodes the reply": "#8d7fab",
    "client returns": "#97a0a8",
}
"""No arm's colours: a stage is no upstream."""


def waterfall(samples: Samples) -> Picture | None:
    """Stages of each arm, one panel a payload; they add up to the time from the client's send to its reply."""
    cells = samples.experiment.cells
    where = [named["where"] for named in summary.names(cells)]
    found = {
        (c, arm): made
        for c in range(len(cells))
        for arm in samples.experiment.arms
        if (made := _stages(samples, c, arm))
    }
    shown = sorted({c for c, _ in found})
    if not found:
        return None
    every = [arm for arm in samples.experiment.arms if any(arm == name for _, name in found)]
    figure, axes = style.panels(len(shown), height=1.1 + 0.26 * len(every), share_y=True)
    told: list[str] = []
    for axis, c in zip(axes, shown, strict=True):
        arms = [arm for arm in every if (c, arm) in found]
        _bars(axis, {arm: found.get((c, arm), {}) for arm in every})
        axis.set_title(where[c])
        axis.set_xlabel("ms")
        told += [f"{arm} at {where[c]}: {sum(found[c, arm].values()):.3g} ms" for arm in arms]
    style.legend(figure, axes)
    return Picture("stages", "Stages of a request", "Stages of a request. " + "; ".join(told) + ".", figure)


def _stages(samples: Samples, cell: int, arm: str) -> dict[str, float]:
    stamps = [item["stamps"] for item in samples.stages if item["cell"] == cell and item["arm"] == arm]
    gateway = samples.experiment.cells[cell].view == "end-to-end"
    whole = [stamp for stamp in stamps if ("received" in stamp) == gateway and stages.is_ordered(stamp)]
    return stages.typical(whole) if whole else {}


def _bars(axis: Axes, arms: dict[str, dict[str, float]]) -> None:
    names = list(arms)
    left = [0.0] * len(names)
    for stage, colour in _COLOURS.items():
        values = [arms[name].get(stage, 0.0) for name in names]
        axis.barh(names, values, left=left, label=stage, color=colour, height=0.62)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
