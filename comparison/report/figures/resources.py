"""What a request takes: CPU by process, and bytes by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from crossover.comparison.analysis.measures import APPARATUS
from crossover.comparison.design.arms import CONTROLS
from crossover.comparison.report.figures import style
from crossover.comparison.report.figures.style import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CPU_COLOURS = {"gateway": "#8fa8b9", "model server": "#8c7a40", "service": "#8c7a40"}
_BYTE_COLOURS = {"tensors": "#b9c2ca", "message": "#b9c2ca", "encoding": "#8d7fab", "protocol": "#3f4a57"}
"""No arm's colours."""


def cpu(summary: dict[str, Any]) -> Picture | None:
    """CPU per request, stacked by process, one panel a payload."""
    rows = _rows(summary)
    processes = list(dict.fromkeys(name for row in rows for name in row["cpu_us"] if name not in APPARATUS))
    if not processes:
        return None
    figure, axes = _panels(rows)
    for axis, (where, arms) in zip(axes, _by_place(rows).items(), strict=True):
        parts = {name: [row["cpu_us"].get(name, 0.0) for row in arms] for name in processes}
        _stack(axis, arms, parts, _CPU_COLOURS)
        axis.set_title(where)
        axis.set_xlabel("µs of CPU per request")
    style.legend(figure, axes)
    told = "; ".join(
        f"{row['arm']} at {row['where']}: "
        + ", ".join(f"{name} {row['cpu_us'].get(name, 0):.0f} µs" for name in processes)
        for row in rows
    )
    return Picture("cpu", "CPU per request by process", f"CPU per request. {told}.", figure)


def byte_split(summary: dict[str, Any]) -> Picture | None:
    """Bytes over the hop: the message, and what HTTP adds (TCP bytes less message).

    A message of ours is the tensors themselves and what their encoding adds; of a foreign pair's message that is not known.
    """
    layers = _message_and_protocol if summary["services"] == "pair" else _layers
    rows = [row for row in _rows(summary) if row["message_bytes"]]
    if not rows:
        return None
    figure, axes = _panels(rows)
    for axis, (where, arms) in zip(axes, _by_place(rows).items(), strict=True):
        _stack(axis, arms, layers(arms), _BYTE_COLOURS)
        axis.set_title(where)
        axis.set_xlabel("bytes per request")
        axis.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(_plain))
    style.legend(figure, axes)
    told = "; ".join(
        f"{row['arm']} at {row['where']}: message {row['message_bytes']:.0f} bytes, over the hop "
        + (f"{row['wire_bytes']:.0f}" if row["wire_bytes"] else "not measured")
        for row in rows
    )
    title = f"Bytes over the hop: {', '.join(layers(rows))}"
    return Picture("bytes", title, f"Bytes over the hop. {told}.", figure)


def _plain(count: float, _: int) -> str:
    """A count in thousands or millions, as axes say it."""
    for letter, unit in (("M", 1e6), ("k", 1e3)):
        if count >= unit:
            return f"{count / unit:g} {letter}"
    return f"{count:g}"


def _layers(arms: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Tensor bytes cannot exceed the message (an encoding that shrinks them shows as all tensors)."""
    tensors = [min(2.0 * row["payload_bytes"], row["message_bytes"]) for row in arms]
    return {
        "tensors": tensors,
        "encoding": [row["message_bytes"] - base for row, base in zip(arms, tensors, strict=True)],
        "protocol": _protocol(arms),
    }


def _message_and_protocol(arms: list[dict[str, Any]]) -> dict[str, list[float]]:
    return {"message": [row["message_bytes"] for row in arms], "protocol": _protocol(arms)}


def _protocol(arms: list[dict[str, Any]]) -> list[float]:
    return [max(0.0, (row["wire_bytes"] or row["message_bytes"]) - row["message_bytes"]) for row in arms]


def _rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in summary["arms"] if row["arm"] not in CONTROLS]


def _by_place(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["where"], []).append(row)
    return found


def _panels(rows: list[dict[str, Any]]) -> tuple[Any, list[Axes]]:
    groups = _by_place(rows)
    most = max(len(arms) for arms in groups.values())
    return style.panels(len(groups), height=1.3 + 0.32 * most, share_y=True)


def _stack(axis: Axes, arms: list[dict[str, Any]], parts: dict[str, list[float]], colours: dict[str, str]) -> None:
    left = [0.0] * len(arms)
    names = [row["arm"] for row in arms]
    for name, values in parts.items():
        axis.barh(names, values, left=left, label=name, color=colours.get(name) or style.colour(name), height=0.62)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axis.set_ylim(len(arms) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
