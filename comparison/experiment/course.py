"""What every run is told, whatever it compares, and what a run needs of its subject."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crossover.comparison.analysis.cost import Prices
    from crossover.comparison.analysis.failif import Rule
    from crossover.comparison.experiment.arms import Arm
    from crossover.comparison.experiment.preparation import Prepared
    from crossover.comparison.load.generator import Generator
    from crossover.comparison.network.link import Link
    from crossover.comparison.services.views import View


V = TypeVar("V", bound="View")


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
    goes_on: bool = field(default=False, kw_only=True)
    """The folder holds a run to which blocks are added."""


class Subject(Protocol[V]):
    """What a run compares: how its services are reached, and what is sent to them."""

    services: str
    """`ours`, `foreign` (OIP services of somebody else), or `pair`."""
    model: str

    def view(self, seed: int, link: Link | None) -> V:
        """The services of one block, ready."""
        ...

    def prepare(self, view: V, generator: Generator, network: str, tell: Callable[[str], None]) -> Prepared:
        """The cells over one network, and what was found out about each; UsageError for what cannot be measured."""
        ...

    def resume(self, view: V, prepared: Prepared) -> None:
        """Instead of `prepare`: make ready to load cells that an earlier part of the run prepared."""
        ...

    def load(self, view: V, c: int, prepared: Prepared, seed: int) -> None:
        """Prepare what cell `c` sends and expects in a block with this seed."""
        ...

    def facts(self) -> dict[str, Any]:
        """What a reader of the samples must know beside the course, for `Experiment.options`."""
        ...

    def pairs(self) -> list[list[str]]:
        """The pairs that are judged, each [gRPC arm, REST arm, question, lead]; empty: those declared for our own arms."""
        ...
