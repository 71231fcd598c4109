"""`grpc-coalesced` and `rest-coalesced`: the plain wires, with calls joined where the model allows it."""

from __future__ import annotations

from crossover.clients import grpc_unary, rest
from crossover.clients.coalescing import Coalescing
from crossover.protocol.wires import Target


def connect_grpc(target: Target) -> Coalescing:
    """Unary gRPC calls with raw contents, joined."""
    return Coalescing(grpc_unary.connect(target))


def connect_rest(target: Target) -> Coalescing:
    """HTTP/1.1 calls with binary tensors, joined."""
    return Coalescing(rest.connect(target))
