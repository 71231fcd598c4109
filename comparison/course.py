"""What every run is told, whatever it compares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from crossover.comparison.analysis.cost import Prices
    from crossover.comparison.analysis.failif import Rule
    from crossover.comparison.design.arms import Arm


@dataclass(slots=True)
class Course:
    """How a run goes: its blocks, slices and load, and where its result is kept."""

    out: Path
    view: str
    """What stands between the load and the hop: `end-to-end`, `hop`, or `pair` for two services of somebody else."""
    arms: list[Arm]
    networks: list[str]
    concurrency: list[int]
    """Connections of the load."""
    rates: list[float]
    """Requests per second that were asked for; empty: shares of the capacity."""
    loads: list[float]
    """Shares of the slowest arm's capacity."""
    closed: bool
    goal_ms: float | None
    """Search each arm's capacity at this latency; None: do not."""
    blocks: int
    turns: int
    seconds: float
    seed: int
    thorough: bool
    tls: bool
    fail_if: list[Rule]
    prices: Prices
    notes: list[str]
    """What had to be left out before anything began, and why."""
    outputs: tuple[str, ...] = field(default=(), kw_only=True)
    """What is written beside summary and report: `markdown`, `junit`."""
    generators: int = field(default=1, kw_only=True)
    """Processes that share the load."""
    goes_on: bool = field(default=False, kw_only=True)
    """The folder holds a run to which blocks are added."""
