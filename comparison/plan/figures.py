"""What a request costs by payload and wire, block by block: of a run, or as published with the project.

Between two payloads a block's figures are interpolated in bytes, since all of them grow with the bytes; above the largest and
below the smallest the nearest two are extended, which the plan marks, and far above nothing is said.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.comparison.analysis.measures import Measures
from crossover.comparison.design import samples
from crossover.comparison.design.arms import ARMS
from crossover.comparison.services.fleet import GATEWAY, MODEL_SERVER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crossover.comparison.design.samples import Samples

PUBLISHED = Path(__file__).with_name("published.json")
"""Made by `python -m comparison plan --run RUN --json`: its `figures`."""
COLUMNS = ("block", "gateway_us", "model_server_us", "wire_bytes", "p50_ms")
"""Of a point's rows: µs of CPU a request, bytes of TCP over the hop a request (None: not counted), median in ms."""
FURTHEST = 4.0
"""Times the largest payload: what lies further says nothing about."""
MEASURED, BETWEEN, BEYOND = "measured", "interpolated", "extended"
Rows = list[list[float | None]]


class FiguresError(ValueError):
    """There are no figures for what was asked, in one sentence."""


@dataclass(frozen=True, slots=True)
class Point:
    """What a request costs at one payload: float64 [blocks] each; `wire_bytes` may be NaN."""

    gateway_us: NDArray[np.float64]
    model_server_us: NDArray[np.float64]
    wire_bytes: NDArray[np.float64]
    p50_ms: NDArray[np.float64]
    how: str


@dataclass(frozen=True, slots=True)
class Figures:
    """All points: by arm and payload the rows of `COLUMNS`."""

    source: str
    arms: dict[str, dict[int, Rows]]

    def at(self, arm: str, payload: int) -> Point:
        """The point of an arm at a payload; FiguresError where nothing can be said."""
        known = self.arms[arm]
        if payload in known:
            return _point(np.array(known[payload], float), MEASURED)
        sizes = sorted(known)
        if len(sizes) == 1:
            raise FiguresError(
                f"{arm} was measured at {sizes[0]} bytes alone, which says nothing of {payload}; run with --payload"
            )
        if payload > FURTHEST * sizes[-1]:
            raise FiguresError(
                f"{arm} was measured up to {sizes[-1]} bytes, too far from {payload}; run with --payload {payload}"
            )
        at = int(np.clip(np.searchsorted(sizes, payload), 1, len(sizes) - 1))
        below, above = sizes[at - 1], sizes[at]
        low, high = _shared(known[below], known[above])
        made = low + (high - low) * (payload - below) / (above - below)
        if payload < below:  # what a smaller request costs is not below nothing
            made = np.maximum(made, low * payload / below)
        return _point(made, BETWEEN if below < payload < above else BEYOND)

    def document(self) -> dict[str, Any]:
        arms = {arm: {str(size): rows for size, rows in points.items()} for arm, points in self.arms.items()}
        return {"source": self.source, "columns": list(COLUMNS), "arms": arms}


def _point(rows: NDArray[np.float64], how: str) -> Point:
    _, gateway, model_server, wire, p50 = rows.T
    return Point(gateway, model_server, wire, p50, how)


def _shared(one: Rows, other: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rows of the blocks that both have."""
    found = {row[0]: row for row in other}
    shared = [(row, found[row[0]]) for row in one if row[0] in found]
    if not shared:
        raise FiguresError("no block has both payloads")
    return np.array([row for row, _ in shared], float), np.array([row for _, row in shared], float)


def published() -> Figures:
    """Those that come with the project (docs/findings.md)."""
    return _loaded(json.loads(PUBLISHED.read_text("utf-8")))


def _loaded(document: dict[str, Any]) -> Figures:
    arms = {arm: {int(size): rows for size, rows in points.items()} for arm, points in document["arms"].items()}
    return Figures(document["source"], arms)


def of_run(folder: Path) -> Figures:
    """Those of a run that is kept; SamplesError or FiguresError say what it lacks."""
    found = samples.read(folder)
    measures = Measures(found)
    arms: dict[str, dict[int, Rows]] = {}
    for arm in found.experiment.arms:
        if arm not in ARMS or ARMS[arm].role != "arm" or ARMS[arm].kind == "process":
            continue
        points = {
            found.experiment.cells[cell].payload_bytes: rows
            for cell in _cells(found)
            if (rows := _rows(measures, cell, arm))
        }
        if points:
            arms[arm] = dict(sorted(points.items()))
    if not arms:
        raise FiguresError(
            f"'{folder}' has no arm that was measured end to end over loopback; a plan needs what the gateway and the model "
            "server take"
        )
    return Figures(f"{found.experiment.command} ({found.experiment.created[:10]})", arms)


def _cells(found: Samples) -> list[int]:
    """Those that a plan can be made from; of several with one payload the last is the busiest, and not of slow arms."""
    cells = found.experiment.cells
    usable = [
        index for index, cell in enumerate(cells) if cell.view == "end-to-end" and cell.network == "loopback" and not cell.case
    ]  # fmt: skip
    return sorted(usable, key=lambda index: (not cells[index].slow, cells[index].concurrency, cells[index].rate or 0.0))


def _rows(measures: Measures, cell: int, arm: str) -> Rows:
    wire, p50 = (measures.by_block(cell, arm, metric) for metric in ("wire_bytes", "p50"))
    rows: Rows = []
    for each in measures.bins(cell, arm):
        block = each.lines[0].block
        if block in p50 and {GATEWAY, MODEL_SERVER} <= each.services:
            costs = [each.cpu_us(name) for name in (GATEWAY, MODEL_SERVER)]
            rows.append([float(block), *(round(cost, 2) for cost in costs), wire.get(block), round(p50[block], 4)])
    return rows
