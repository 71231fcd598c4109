"""Latency: the percentile spectrum of every arm, with the intervals that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from crossover.comparison.analysis import quantiles, summary
from crossover.comparison.design.arms import CONTROLS
from crossover.comparison.report.figures import style
from crossover.comparison.report.figures.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from crossover.comparison.analysis.measures import Measures

_SHARES = np.concatenate([np.linspace(0.02, 0.9, 45), 1 - np.logspace(-1, -4, 40)[1:]])
_BINS = 40
_TICKS = {0.0: "min", 0.5: "50", 0.9: "90", 0.99: "99", 0.999: "99.9"}


def spectrum(measures: Measures, arms: list[str]) -> Picture | None:
    """Latency at each percentile by arm, one panel a payload; a line ends where its interval ceases to exist."""
    where = [named["where"] for named in summary.names(measures.samples.experiment.cells)]
    shown = [arm for arm in arms if arm not in CONTROLS]
    if not shown:
        return None
    figure, axes = style.panels(len(where), height=3.4)
    told: list[str] = []
    for c, axis in enumerate(axes):
        for arm in shown:
            bins = measures.bins(c, arm)
            values = np.concatenate([np.empty(0), *(found.latencies_ms for found in bins)])
            if len(values):
                _line(axis, values, arm)
                told.append(f"{arm} at {where[c]}: median {np.median(values):.3g} ms")
        _axes(axis, where[c])
    axes[0].set_ylabel("latency from planned time, ms")
    style.legend(figure, axes)
    return Picture("spectrum", "Percentile spectrum", "Percentile spectrum. " + "; ".join(told) + ".", figure)


def two_modes(measures: Measures, rows: list[dict[str, Any]]) -> Picture | None:
    """How the latencies lie of arms that have two modes, one panel a place; `rows` are the summary's arms."""
    places: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["modes"] and row["arm"] not in CONTROLS:
            places.setdefault(row["where"], []).append(row)
    if not places:
        return None
    figure, axes = style.panels(len(places), height=2.6)
    for axis, (where, found) in zip(axes, places.items(), strict=True):
        for row in found:
            _histogram(axis, measures, row)
        axis.set_title(where)
        axis.set_xlabel("latency from planned time, ms")
    axes[0].set_ylabel("share of requests")
    style.legend(figure, axes)
    title = "Latencies that gather around two times"
    told = "; ".join(
        f"{row['arm']} at {row['where']}: "
        + " and ".join(f"{mode['share']:.0%} around {mode['median_ms']:.3g} ms" for mode in row["modes"])
        for found in places.values()
        for row in found
    )
    return Picture("modes", title, f"{title}. {told}.", figure)


def _histogram(axis: Axes, measures: Measures, row: dict[str, Any]) -> None:
    values = np.concatenate([found.latencies_ms for found in measures.bins(row["cell"], row["arm"])])
    logs = np.log10(values[values > 0])
    counts, edges = np.histogram(logs, bins=_BINS)
    axis.stairs(counts / len(logs), 10**edges, color=style.colour(row["arm"]), linewidth=1.4, label=row["arm"])
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())


def _line(axis: Axes, values: NDArray[np.float64], arm: str) -> None:
    found = [(share, interval) for share in _SHARES if (interval := quantiles.quantile(values, float(share)))]
    if not found:
        return
    x = [_place(share) for share, _ in found]
    axis.plot(x, [i.estimate for _, i in found], color=style.colour(arm), linewidth=1.6, label=arm)
    axis.fill_between(
        x, [i.low for _, i in found], [i.high for _, i in found], color=style.colour(arm), alpha=0.18, linewidth=0
    )


def _place(share: float) -> float:
    """The axis stretches the tail: each nine takes the same room."""
    return float(-np.log10(1 - share))


def _axes(axis: Axes, title: str) -> None:
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axis.set_xticks([_place(share) for share in _TICKS], list(_TICKS.values()))
    axis.set_title(title)
    axis.set_xlabel("percentile")
