"""The arms of the experiment, and which of them are compared for which question.

An arm is a way to make the hop. Most are the registry's wires under their own names; `grpc-again` is `grpc` under a
second name (A/A: what the lab sees between equals) and `control` is `grpc` with a busy wait of a known length in front
of the engine (what the lab must recover).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from crossover.comparison.lab.wires import LAB_WIRES, UNIX_WIRES, missing
from crossover.protocol.wires import WIRES

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
REST_AGAIN = "rest-again"
CONTROL = "control"
GRPC_CLIENT, REST_CLIENT = "grpc-client", "rest-client"
CODED = frozenset({GRPC_CLIENT, REST_CLIENT})
"""Arms of a pair that encode and decode as a client does, within each call."""
CONTROLS = frozenset({AGAIN, REST_AGAIN, CONTROL})
"""Arms that say whether a run may be believed; figures of the others leave them out."""

ARMS: dict[str, Arm] = {
    wire.name: Arm(wire.name, wire.name, wire.kind, summary=wire.summary) for wire in ({**WIRES, **LAB_WIRES}).values()
}
ARMS[AGAIN] = Arm(AGAIN, REFERENCE, "grpc", "again", "grpc under a second name (A/A)")
ARMS[CONTROL] = Arm(CONTROL, REFERENCE, "grpc", "control", "grpc with a known busy wait before the engine")

UNCOUNTED = frozenset({"rest-no-keepalive", "rest-http3", "inprocess", *UNIX_WIRES})
"""Arms without lasting TCP connections over the hop, whose bytes the socket statistics cannot tell."""

QUICK_ARMS = (
    "rest", "rest-binary", "rest-protobuf", "rest-stock", "grpc", "grpc-lean-both", "grpc-stock", AGAIN, CONTROL,
)  # fmt: skip
THOROUGH_ARMS = (
    "inprocess", "rest", "rest-binary", "rest-protobuf", "rest-fastapi", "rest-stock", "rest-stock-binary", "grpc-typed",
    "grpc", "grpc-lean", "grpc-lean-both", "grpc-stream", "grpc-json", "grpc-stock", "grpc-stock-raw", AGAIN, CONTROL,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pair:
    """A gRPC arm against a REST arm, and the question that it answers."""

    grpc: str
    rest: str
    question: str
    lead: str = ""
    """How the answer begins: both sides by what they are made of; empty: as the question."""

    @property
    def key(self) -> tuple[str, str]:
        return (self.grpc, self.rest)


PAIRS = (
    Pair(
        "grpc-stock",
        "rest-stock",
        "as usually written: grpc.aio with typed fields against httpx and FastAPI, all stock",
        "As usually written (grpc.aio against httpx and FastAPI with JSON)",
    ),
    Pair(
        "grpc-lean-both",
        "rest-protobuf",
        "the protocols alone: the same bytes, without grpcio, lean parts on all sides",
        "With equal care on both sides (the same protobuf message by lean parts, over HTTP/2 and HTTP/1.1)",
    ),
    Pair(
        "grpc",
        "rest-binary",
        "raw tensors both ways, as these services run: gRPC by grpcio, REST by lean parts",
        "As these services run (grpcio against lean REST parts of ours, raw tensors both ways)",
    ),
    Pair("grpc-lean-both", "rest-binary", "best against best, as tuned here: raw tensors, lean parts on all sides"),
    Pair("grpc", "rest", "raw tensors over gRPC against JSON over REST, as tuned here"),
    Pair(
        "grpc-stock-raw",
        "rest-stock-binary",
        "best against best with stock libraries: grpc.aio with raw contents against aiohttp and Starlette with binary "
        "tensors",
    ),
    Pair("grpc", "rest-protobuf", "the same bytes: one protobuf message over gRPC or as a body over HTTP/1.1"),
    Pair("grpc-lean", "rest-binary", "lean clients on both sides, before the model server as it is"),
    Pair(
        "grpc-stock-sync", "rest-stock", "as usually written, with grpcio's threaded server in the place of grpc.aio's"
    ),
    Pair("grpc-typed", "rest", "plain fields over gRPC against JSON over REST, as tuned here"),
    Pair("grpc-blocking", "rest-blocking", "blocking callers, a thread a request, the bytes of grpc and rest-binary"),
    Pair("grpc", "rest-http2", "both over HTTP/2: raw tensors over gRPC against JSON by httpx and hypercorn"),
    Pair("grpc-stock-raw", "rest-httpx2", "raw tensors by grpc.aio against JSON by httpx2, the successor of httpx"),
    Pair(
        "connect",
        "rest-stock-binary",
        "both over HTTP/1.1 with stock libraries: the Connect protocol by connectrpc against binary tensors by aiohttp and Starlette",
    ),
    Pair(
        "grpc",
        "rest-http2-tls",
        "raw tensors over gRPC in plain text against JSON over HTTP/2 with TLS (pyqwest, hypercorn)",
    ),
    Pair("grpc", "rest-http3", "raw tensors over gRPC on TCP against JSON over HTTP/3 on QUIC (pyqwest, hypercorn)"),
    Pair("grpc", "rest-one-connection", "one connection each: gRPC shares it among calls, HTTP/1.1 takes turns on it"),
    Pair("grpc-unix", "rest-unix", "over Unix sockets, for services on one host"),
    Pair("grpc-gzip", "rest-gzip", "compressed: raw tensors over gRPC against JSON over REST, gzip both ways"),
)
"""Headline pairs, declared before anything is measured; the first three whose arms were run give the verdict's first lines."""


class UnknownArmError(ValueError):
    """An arm that is not in the table, or whose packages are not installed, in one sentence."""


def chosen(names: Iterable[str]) -> list[Arm]:
    """The arms called `names`, in that order and once each; UnknownArmError lists the names that exist."""
    found: dict[str, Arm] = {}
    for name in names:
        if name not in ARMS:
            raise UnknownArmError(f"'{name}' is not an arm; choose from {', '.join(ARMS)}")
        if lacks := missing(ARMS[name].upstream):
            raise UnknownArmError(f"'{name}' needs {lacks}")
        found[name] = ARMS[name]
    return list(found.values())


def headline_pairs(names: Iterable[str]) -> list[Pair]:
    """The declared pairs whose two arms are both in `names`."""
    present = set(names)
    return [pair for pair in PAIRS if {pair.grpc, pair.rest} <= present]
