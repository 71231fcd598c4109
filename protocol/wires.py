"""The registry of wires: one line each, one spelling for the gateway's upstream, the clients' `--wire` and the lab's arm.

Factories are text (`module:callable`) and are imported on use, so that a process that speaks one wire never imports the
library of another, and no import circle can form through the registry. A factory takes a `Target` and gives an
`Inference`; it opens no connection before the first call and must be called inside a running event loop.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.errors import invalid

if TYPE_CHECKING:
    from crossover.protocol.inference import Inference

EVERYTHING = frozenset(DATATYPES)
NO_HALF_FLOATS = EVERYTHING - {"FP16", "BF16"}


UNIX = "unix:"
"""What an address on a Unix socket begins with; its path follows."""


def unix_path(address: str) -> str:
    """The path in `unix:PATH` or `unix://PATH`; empty for any other address."""
    return address.removeprefix(UNIX).removeprefix("//") if address.startswith(UNIX) else ""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client goes and how."""

    grpc: str = "127.0.0.1:8001"
    """host:port of the gRPC service, or unix:PATH."""
    rest: str = "http://127.0.0.1:8000"
    """Base URL of the REST service."""
    tls_ca: Path | None = None
    """PEM file of the authorities that sign the service's certificate; None: plain text for gRPC, system CAs for https."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_message_bytes: int = 64 << 20
    """Largest message either way, in bytes."""
    connections: int = 100
    """Most connections that a pooling client opens."""
    options: dict[str, str] = field(default_factory=dict)
    """Anything else that a factory of its own understands (the in-process engine: its repository)."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One way to reach an `Inference`."""

    name: str
    factory: str
    """`module:callable`, imported on use."""
    kind: Literal["grpc", "rest", "process"]
    carries: frozenset[str]
    """Datatypes that this wire can carry."""
    bytes_as_text: bool = False
    """True when BYTES travel as text, so that they must be UTF-8."""
    instead: str | None = None
    """The wire to name when this one cannot carry something."""
    summary: str = ""


WIRES: dict[str, Wire] = {
    wire.name: wire
    for wire in (
        Wire("grpc", "crossover.clients.grpc_unary:connect", "grpc", EVERYTHING, summary="one unary ModelInfer, raw contents"),
        Wire("grpc-typed", "crossover.clients.grpc_unary:connect_typed", "grpc", NO_HALF_FLOATS, instead="grpc",
             summary="one unary ModelInfer, typed contents both ways"),
        Wire("grpc-lean", "crossover.clients.grpc_unary:connect_lean", "grpc", EVERYTHING,
             summary="as grpc, by a lean HTTP/2 client of our own instead of grpcio"),
        Wire("grpc-stream", "crossover.clients.grpc_stream:connect", "grpc", EVERYTHING,
             summary="long-lived bidirectional streams, answers matched by id"),
        Wire("rest", "crossover.clients.rest:connect", "rest", NO_HALF_FLOATS, bytes_as_text=True, instead="rest-binary",
             summary="HTTP/1.1, JSON both ways"),
        Wire("rest-binary", "crossover.clients.rest:connect_binary", "rest", EVERYTHING,
             summary="HTTP/1.1, binary tensor extension both ways"),
        Wire("grpc-coalesced", "crossover.clients.coalesced:connect_grpc", "grpc", EVERYTHING,
             summary="as grpc, with the calls that arrive meanwhile joined where the model allows it"),
        Wire("rest-coalesced", "crossover.clients.coalesced:connect_rest", "rest", EVERYTHING,
             summary="as rest-binary, with calls joined in the same way"),
        Wire("inprocess", "crossover.model_server.inprocess:connect", "process", EVERYTHING, summary="the engine in this process"),
    )
}  # fmt: skip


def wire(name: str) -> Wire:
    """The registry's line for `name`; INVALID_ARGUMENT that lists the names when there is none."""
    found = WIRES.get(name)
    if found is None:
        raise invalid(f"'{name[:40]}' is not an upstream; choose one of {', '.join(WIRES)}")
    return found


def connect(name: str, target: Target) -> Inference:
    """An `Inference` over the wire called `name`."""
    module, _, factory = wire(name).factory.partition(":")
    return cast("Inference", getattr(importlib.import_module(module), factory)(target))
