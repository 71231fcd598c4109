"""The arms of the experiment, and which of them are compared for which question.

An arm is a way to make the hop. Most are the registry's wires under their own names; `grpc-again` is `grpc` under a
second name (A/A: what the lab sees between equals) and `control` is `grpc` with a busy wait of a known length in front
of the engine (what the lab must recover).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from protocol.wires import WIRES

if TYPE_CHECKING:
    from collections.abc import Iterable

Role = Literal["arm", "again", "control"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to make the hop."""

    name: str
    upstream: str
    """The registry's name, sent as `Inference-Upstream` (end to end) or connected to (hop)."""
    kind: str
    """`grpc`, `rest` or `process`."""
    role: Role = "arm"
    summary: str = ""


REFERENCE = "grpc"
AGAIN = "grpc-again"
CONTROL = "control"

ARMS: dict[str, Arm] = {
    wire.name: Arm(wire.name, wire.name, wire.kind, summary=wire.summary) for wire in WIRES.values()
}
ARMS[AGAIN] = Arm(AGAIN, REFERENCE, "grpc", "again", "grpc under a second name (A/A)")
ARMS[CONTROL] = Arm(CONTROL, REFERENCE, "grpc", "control", "grpc with a known busy wait before the engine")

QUICK_ARMS = ("rest", "rest-binary", "grpc-typed", "grpc", AGAIN, CONTROL)


@dataclass(frozen=True, slots=True)
class Pair:
    """A gRPC arm against a REST arm, and the question that it answers."""

    grpc: str
    rest: str
    question: str

    @property
    def key(self) -> tuple[str, str]:
        return (self.grpc, self.rest)


PAIRS = (
    Pair("grpc", "rest-binary", "best against best, as tuned here"),
    Pair("grpc", "rest", "raw tensors over gRPC against JSON over REST, as tuned here"),
    Pair("grpc-typed", "rest", "plain fields over gRPC against JSON over REST, as tuned here"),
)
"""Headline pairs, declared before anything is measured; the first whose arms were run gives the verdict."""


@dataclass(frozen=True, slots=True)
class Step:
    """Two arms that differ in one thing: what that thing costs."""

    before: str
    after: str
    cause: str


STEPS = (
    Step("rest", "rest-binary", "encoding: JSON text or binary tensors, over REST"),
    Step("grpc-typed", "grpc", "encoding: typed fields or raw contents, over gRPC"),
)


class UnknownArmError(ValueError):
    """An arm that is not in the table, in one sentence."""


def chosen(names: Iterable[str]) -> list[Arm]:
    """The arms called `names`, in that order and once each; UnknownArmError lists the names that exist."""
    found: dict[str, Arm] = {}
    for name in names:
        if name not in ARMS:
            raise UnknownArmError(f"'{name}' is not an arm; choose from {', '.join(ARMS)}")
        found[name] = ARMS[name]
    return list(found.values())


def headline_pairs(names: Iterable[str]) -> list[Pair]:
    """The declared pairs whose two arms are both in `names`."""
    present = set(names)
    return [pair for pair in PAIRS if {pair.grpc, pair.rest} <= present]
