"""What is known before the first block: which cells are judged, and what their requests can be expected to say."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from crossover.comparison.analysis.expected import expectation
from crossover.comparison.analysis.measures import can_say, metrics_of
from crossover.comparison.analysis.summary import names
from crossover.comparison.design import schedule
from crossover.comparison.design.arms import headline_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.design.cells import Block
    from crossover.comparison.design.samples import Experiment
    from crossover.comparison.experiment.preparation import Prepared


def planned(experiment: Experiment) -> list[dict[str, Any]]:
    """Every cell that will be judged, by each pair and metric."""
    metrics = metrics_of(experiment.options, searched=experiment.options["goal_ms"] is not None)
    return [
        {**asdict(cell), "model": experiment.model, "pair": list(pair), "metric": metric}
        for cell in experiment.cells
        for pair in _pairs(experiment)
        if cell.compares(pair)
        for metric in metrics
        if can_say(pair, metric)
    ]


def _pairs(experiment: Experiment) -> list[tuple[str, str]]:
    own = [(pair[0], pair[1]) for pair in experiment.pairs]
    return own or [pair.key for pair in headline_pairs(experiment.arms)]


def expected(
    experiment: Experiment, prepared: Prepared, blocks: Sequence[Block], seconds: float
) -> list[dict[str, Any]]:
    """For each cell an `Expectation` with the cell's name, for `summary.json` and words."""
    found = []
    for c, (cell, named) in enumerate(zip(experiment.cells, names(experiment.cells), strict=True)):
        varying = prepared.latencies_ms[c] if c < len(prepared.latencies_ms) else {}
        if len(varying) != 2:
            continue
        one, other = varying
        visited = [block for block in blocks if any(item.cell == c for item in block.slices)]
        turns = sum(item.cell == c and item.arm == one for item in visited[0].slices) if visited else 0
        rate = cell.rate or min(prepared.capacity[c].values())
        in_block = turns * schedule.count_for(rate, seconds)
        said = (
            expectation(c, (one, other), len(visited), in_block, (varying[one], varying[other])) if in_block else None
        )
        if said:
            found.append({**asdict(said), **named})
    return found
