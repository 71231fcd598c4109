"""Which replica takes the next call (`UPSTREAM_BALANCING`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.clients.balancing.replica import Replica


class Policy(Protocol):
    """Called for each attempt with at least one replica, in the target's order."""

    def __call__(self, among: Sequence[Replica]) -> Replica: ...


class RoundRobin:
    """Each in its turn."""

    def __init__(self) -> None:
        self._turn = -1

    def __call__(self, among: Sequence[Replica]) -> Replica:
        self._turn += 1
        return among[self._turn % len(among)]


class LeastRequest:
    """The one with the fewest calls under way; those alike in their turn."""

    def __init__(self) -> None:
        self._turn = -1

    def __call__(self, among: Sequence[Replica]) -> Replica:
        self._turn += 1
        start = self._turn % len(among)
        best = among[start]
        for replica in (*among[start + 1 :], *among[:start]):
            if replica.in_flight < best.in_flight:
                best = replica
        return best


def pick_first(among: Sequence[Replica]) -> Replica:
    """The first of the target's order that can; the others are for when it cannot."""
    return among[0]


POLICIES: dict[str, Callable[[], Policy]] = {
    "round_robin": RoundRobin,
    "least_request": LeastRequest,
    "pick_first": lambda: pick_first,
}
