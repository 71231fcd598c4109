"""What a line of `make torture` is: a promise, how it is tried, and what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from crossover.comparison.torture.ground import Ground

Values: TypeAlias = dict[str, float]


@dataclass(frozen=True, slots=True)
class Figure:
    """What a trial found."""

    kept: bool | None
    """None: it could not be tried here, and `text` says why."""
    text: str
    values: Values = field(default_factory=dict)
    """The same as numbers, by what was tried: a port, an upstream, a quantity."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One line."""

    name: str
    """`ground.what`."""
    says: str
    """The promise in a few words, with its goal."""
    measure: Callable[[Ground], Figure]

    @property
    def ground(self) -> str:
        """The services that it is tried on (grounds.py)."""
        return self.name.partition(".")[0]


def skipped(reason: str) -> Figure:
    return Figure(None, f"skipped: {reason}")


def at_most(goal: float, found: Values, unit: str = "s", note: str = "") -> Figure:
    """Kept where the largest value is at most `goal`; the text names what it belongs to."""
    worst = max(found, key=lambda name: found[name])
    return Figure(found[worst] <= goal, _worst(found, worst, unit, "most", note), found)


def at_least(goal: float, found: Values, unit: str, note: str = "") -> Figure:
    """Kept where the smallest value is at least `goal`."""
    worst = min(found, key=lambda name: found[name])
    return Figure(found[worst] >= goal, _worst(found, worst, unit, "least", note), found)


def _worst(found: Values, worst: str, unit: str, which: str, note: str) -> str:
    among = f"{which} of {len(found)}: {worst}" if len(found) > 1 else worst
    return f"{found[worst]:.3g} {unit} ({among}){'; ' if note else ''}{note}"
