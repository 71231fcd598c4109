"""The registry of wires: one line each, one spelling for the gateway's upstream, the clients' `--wire` and the lab's arm.

Factories are text (`module:callable`) and are imported on use, so that a process that speaks one wire never imports the
library of another, and no import circle can form through the registry. A factory takes a `Target` and gives an
`Inference`; it opens no connection before the first call and must be called inside a running event loop.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from crossover.protocol.codecs.registry import BINARY, JSON, PROTOBUF, TYPED, CodecLine
from crossover.protocol.datatype_names import DATATYPE_NAMES
from crossover.protocol.errors import Code, InferenceError, invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from crossover.protocol.inference import Inference
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.protocol.tensors import Tensor


UNIX = "unix:"
"""The prefix of a Unix socket's address; its path follows."""


DNS = "dns:"
"""The prefix of a name that resolves to one address for each replica; `///` may follow."""
FILE = "@"
"""The prefix of the name of a file of addresses."""
GRPCIO = "crossover.clients.grpc_channel"
BALANCER = "crossover.clients.balancing.balanced:connect"
"""The factory for a target of several replicas."""
Balancing = Literal["round_robin", "least_request", "pick_first"]


def unix_path(address: str) -> str:
    """The path in `unix:PATH` or `unix://PATH`; empty for any other address."""
    return address.removeprefix(UNIX).removeprefix("//") if address.startswith(UNIX) else ""


def names_several(address: str) -> bool:
    """Whether it may mean more than one replica: a list, a name to resolve, or a file (clients/balancing/targets.py)."""
    return "," in address or address.startswith((DNS, FILE))


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client goes and how."""

    grpc: str = "127.0.0.1:8001"
    """host:port of the gRPC service, or unix:PATH; or several (clients/balancing/targets.py)."""
    rest: str = "http://127.0.0.1:8000"
    """Base URL of the REST service; or several."""
    tls_ca: Path | None = None
    """PEM file of the authorities that sign the service's certificate; None: plain text for gRPC, system CAs for https."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    max_message_bytes: int = 64 << 20
    """Largest message either way, in bytes."""
    connections: int = 100
    """Most connections that a pooling client opens."""
    api_key: Callable[[], str] | None = None
    """Returns the API key to send; called for each request, since a key may be exchanged while clients live."""
    wire: str = ""
    """The name of the wire to connect over; a factory of several wires looks their differences up under it."""
    options: dict[str, str] = field(default_factory=dict)
    """Anything else that a factory of its own understands (the in-process engine: its repository)."""
    authority: str = ""
    """host:port that requests name (TLS, virtual hosts) where it is not the service's address."""
    balancing: Balancing = "round_robin"
    """Which of several replicas takes a call (clients/balancing/policies.py)."""
    workers: int = 1
    """Processes that share each address; a connection reaches one of them (clients/balancing: `lanes`, `worker_pool`)."""


def bearer(target: Target) -> tuple[tuple[str, str], ...]:
    """The header field, or metadata, with the target's key (RFC 6750 2.1); empty without one."""
    return () if target.api_key is None else (("authorization", f"Bearer {target.api_key()}"),)


@dataclass(frozen=True, slots=True)
class Wire:
    """One way to reach an `Inference`."""

    name: str
    factory: str
    """`module:callable`, imported on use."""
    kind: Literal["grpc", "rest", "process"]
    codec: CodecLine | None = None
    """The encoding of its messages; None in this process, where nothing is encoded."""
    only: frozenset[str] | None = None
    """The datatypes that are compared over it, of those that its codec carries; None: all of them."""
    instead: str | None = None
    """The wire to name when this one cannot carry something."""
    summary: str = ""
    library: str = ""
    """A module that the factory imports when it is called."""
    carries: frozenset[str] = field(init=False)
    """Datatypes that this wire can carry."""

    def __post_init__(self) -> None:
        carried = self.codec.carries if self.codec is not None else frozenset(DATATYPE_NAMES)
        object.__setattr__(self, "carries", carried if self.only is None else carried & self.only)

    @property
    def bytes_as_text(self) -> bool:
        """Whether BYTES travel as text, so that they must be UTF-8."""
        return self.codec is not None and self.codec.bytes_as_text


WIRES: dict[str, Wire] = {
    wire.name: wire
    for wire in (
        Wire("grpc", "crossover.clients.grpc_unary:connect", "grpc", PROTOBUF, library=GRPCIO,
             summary="one unary ModelInfer, raw contents"),
        Wire("grpc-typed", "crossover.clients.grpc_unary:connect_typed", "grpc", TYPED, instead="grpc",
             library=GRPCIO, summary="one unary ModelInfer, typed contents both ways"),
        Wire("grpc-lean", "crossover.clients.grpc_unary:connect_lean", "grpc", PROTOBUF,
             library="crossover.clients.grpc_lean", summary="as grpc, by a lean HTTP/2 client of our own instead of grpcio"),
        Wire("grpc-stream", "crossover.clients.grpc_stream:connect", "grpc", PROTOBUF,
             summary="long-lived bidirectional streams, answers matched by id"),
        Wire("rest", "crossover.clients.rest:connect", "rest", JSON, instead="rest-binary",
             summary="HTTP/1.1, JSON both ways"),
        Wire("rest-binary", "crossover.clients.rest:connect", "rest", BINARY,
             summary="HTTP/1.1, binary tensor extension both ways"),
        Wire("rest-protobuf", "crossover.clients.rest:connect", "rest", PROTOBUF,
             summary="HTTP/1.1, gRPC's own message as the body both ways"),
        Wire("grpc-coalesced", "crossover.clients.coalesced:connect_grpc", "grpc", PROTOBUF,
             library=GRPCIO, summary="as grpc, with the calls that arrive meanwhile joined where the model allows it"),
        Wire("rest-coalesced", "crossover.clients.coalesced:connect_rest", "rest", BINARY,
             summary="as rest-binary, with calls joined in the same way"),
        Wire("inprocess", "crossover.model_server.inprocess:connect", "process", summary="the engine in this process"),
    )
}  # fmt: skip


def wire(name: str) -> Wire:
    """The registry's line for `name`; INVALID_ARGUMENT that lists the names when there is none."""
    line = WIRES.get(name)
    if line is None:
        raise invalid(f"'{name[:40]}' is not a wire; choose one of {', '.join(WIRES)}")
    return line


def connect(name: str, target: Target) -> Inference:
    """An `Inference` over the wire called `name`; with several replicas, one that balances over their clients."""
    line = wire(name)
    module, _, factory = (BALANCER if _is_balanced(line, target) else line.factory).partition(":")
    return cast("Inference", getattr(importlib.import_module(module), factory)(replace(target, wire=name)))


def modules(name: str, target: Target) -> list[str]:
    """The modules that `connect` imports. A busy event loop imports them in a thread first."""
    line = wire(name)
    factories = [line.factory, BALANCER] if _is_balanced(line, target) else [line.factory]
    return [*(factory.partition(":")[0] for factory in factories), *filter(None, [line.library])]


def _is_balanced(line: Wire, target: Target) -> bool:
    if line.kind == "process":
        return False
    return (line.kind == "grpc" and target.workers > 1) or names_several(
        target.grpc if line.kind == "grpc" else target.rest
    )


def check_request(wire: Wire, request: InferRequest) -> None:
    """NOT_CARRIED when an input's datatype, or a BYTES value that is not text, has no form on the wire."""
    _check(wire, request.inputs, "input")


def check_response(wire: Wire, response: InferResponse) -> None:
    """The same for outputs, which may come back raw because the wire has no form for them."""
    _check(wire, response.outputs, "output")


def _check(wire: Wire, tensors: Iterable[Tensor], what: str) -> None:
    for tensor in tensors:
        if tensor.datatype.name not in wire.carries:
            raise InferenceError(
                Code.NOT_CARRIED,
                f"{what} '{tensor.name}' is {tensor.datatype.name}, which '{wire.name}' does not carry; "
                f"use '{wire.instead}'",
            )
