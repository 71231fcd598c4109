"""What a run needs of what it compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.comparison.experiment.preparation import Prepared
    from crossover.comparison.load.generator import Runner
    from crossover.comparison.network.link import Link
    from crossover.comparison.services.views import View


V = TypeVar("V", bound="View")


class Subject(Protocol[V]):
    """What a run compares: how its services are reached, and what is sent to them."""

    services: str
    """`ours`, `foreign` (OIP services of somebody else), or `pair`."""
    model: str

    def view(self, seed: int, link: Link | None) -> V:
        """The services of one block, ready."""
        ...

    def prepare(self, view: V, generator: Runner, network: str, tell: Callable[[str], None]) -> Prepared:
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
