"""The search for every arm's capacity at a latency goal, on real services."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.comparison.analysis import capacity
from crossover.comparison.analysis.capacity import Search
from crossover.comparison.design import schedule
from crossover.comparison.experiment.slices import SETTLE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from crossover.comparison.design.arms import Arm
    from crossover.comparison.design.cells import Cell
    from crossover.comparison.experiment.part import Part

_START = 0.7
"""Where a search begins, as a share of what the arm reached in the probe."""
_STEP_SLICES = 8
"""A step of a search lasts so many slices: near saturation a queue takes its time to build up."""
_Tried = tuple[float, float, float | None, float]
"""Rate, share of requests in time, their 95th percentile in ms, and how busy the generator was."""


def arms_of(arms: Iterable[Arm]) -> list[Arm]:
    """Those that are searched: all but the control."""
    return [arm for arm in arms if arm.role != "control"]


def places(cells: list[Cell], chosen: Iterable[int]) -> list[int]:
    """One cell for each payload, network and number of connections: a search chooses its rates itself."""
    found: dict[tuple[int, str, int], int] = {}
    for c in chosen:
        found.setdefault((cells[c].payload_bytes, cells[c].network, cells[c].concurrency), c)
    return list(found.values())


def searched(part: Part, goal_ms: float, seconds: float, step: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Every arm's search in every place: the arms in turn, step by step, so that drift falls on all alike."""
    for c in places(part.prepared.cells, part.cells):
        arms = arms_of(part.arms.values())
        order = [arms[i] for i in np.random.default_rng([part.block.seed, c]).permutation(len(arms))]
        searches = {arm.name: Search(_START * part.probed(c, arm)) for arm in order}
        tried: dict[str, list[_Tried]] = {arm.name: [] for arm in order}
        for turn in range(capacity.STEPS):
            for arm in order:
                step(f"{part.prepared.cells[c].payload_bytes} B  capacity at {goal_ms:g} ms  {arm.name}")
                found = _tried(part, c, arm, searches[arm.name].rate, goal_ms, seconds, part.block.seed + turn)
                searches[arm.name].tell(found[1] >= capacity.SHARE)
                tried[arm.name].append(found)
        for name, search in searches.items():
            yield {
                "block": part.block.index, "cell": c, "arm": name, "goal_ms": goal_ms, "tried": tried[name],
                "bracket": search.bracket,
            }  # fmt: skip


def _tried(part: Part, c: int, arm: Arm, rate: float, goal_ms: float, seconds: float, seed: int) -> _Tried:
    count = schedule.count_for(rate, _STEP_SLICES * seconds, capacity.FEWEST)
    record = part.drive(c, arm, schedule.poisson(rate, count, part.view.variants(c), seed))
    time.sleep(SETTLE_SECONDS)
    found = record.requests
    return rate, capacity.share_in_time(found, goal_ms), capacity.percentile_ms(found), record.busy
