"""Why: how much of the gap between two arms each step of the ladder explains, and what this run cannot tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.analysis import statistics as st

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.analysis.measures import Measures


@dataclass(frozen=True, slots=True)
class Part:
    """One cause's part of a gap, in the metric's unit: positive where it makes the gRPC arm's side costlier."""

    cause: str
    amount: st.Interval
    step: tuple[str, str]
    """The difference of these two arms is the amount: the first less the second."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of a ladder."""

    grpc_side: str
    rest_side: str
    cause: str


@dataclass(frozen=True, slots=True)
class Ladder:
    """Steps from a gRPC arm down to a REST arm; their differences add up to the gap of the pair."""

    pair: tuple[str, str]
    rungs: tuple[Rung, ...]

    @property
    def arms(self) -> set[str]:
        return {arm for rung in self.rungs for arm in (rung.grpc_side, rung.rest_side)}


BETWEEN = "protocol, library and framework together"
_GRPCIO = Rung("grpc", "grpc-lean-both", "library: grpcio against a lean HTTP/2 client and server, with the same bytes")
_LEAN_CLIENT = Rung("grpc-lean", "grpc-lean-both", "library: grpcio's server against a lean one, with the same bytes")
_LEAN = Rung(
    "grpc-lean-both", "rest-protobuf", "protocol: gRPC over HTTP/2 against HTTP/1.1, lean parts and the same bytes"
)
_PROTOCOL = Rung("grpc", "rest-protobuf", "protocol and its library, with the same bytes")
_PROTOBUF = Rung("rest-protobuf", "rest-binary", "encoding: protobuf against binary tensors, over REST")
_ALL_BETWEEN = Rung("grpc", "rest-binary", BETWEEN)
_JSON = Rung("rest-binary", "rest", "encoding: binary tensors against JSON text, over REST")
_TYPED = Rung("grpc-typed", "grpc", "encoding: typed fields against raw contents, over gRPC")
_STOCK_GRPC = Rung("grpc-stock", "grpc-typed", "library: a stock stub and servicer against the tuned ones")
_FASTAPI = Rung("rest", "rest-fastapi", "framework: plain routes against FastAPI and pydantic")
_HTTPX = Rung("rest-fastapi", "rest-stock", "library: the lean client and codec against httpx and json")

_STOCK_TO_LEAN = Rung(
    "grpc-stock", "grpc-lean-both", "library: stock grpc.aio with typed fields against lean parts with raw contents"
)
_LEAN_TO_STOCK = Rung(
    "rest-protobuf", "rest-stock", "library, framework and JSON: lean parts against httpx and FastAPI with JSON"
)
_HTTP2_TLS = Rung(
    "grpc", "rest-http2-tls", "protocol, libraries, JSON and TLS: grpc against pyqwest and hypercorn over HTTP/2"
)
_QUIC = Rung("rest-http2-tls", "rest-http3", "transport: QUIC against TCP, with the same libraries, JSON and TLS")
_POOL = Rung("rest-binary", "rest-one-connection", "connections: a pool against one, on which calls take turns")
_ENCODE_GRPC = Rung("grpc-client", "grpc", "client: encoding and decoding protobuf")
_SERVICES = Rung("grpc", "rest", "the two services and their wires, with bytes made beforehand")
_ENCODE_REST = Rung("rest", "rest-client", "client: encoding and decoding JSON")

LADDERS = (
    Ladder(("grpc-stock", "rest-stock"), (_STOCK_GRPC, _TYPED, _GRPCIO, _LEAN, _PROTOBUF, _JSON, _FASTAPI, _HTTPX)),
    Ladder(("grpc-stock", "rest-stock"), (_STOCK_GRPC, _TYPED, _PROTOCOL, _PROTOBUF, _JSON, _FASTAPI, _HTTPX)),
    Ladder(("grpc-stock", "rest-stock"), (_STOCK_GRPC, _TYPED, _ALL_BETWEEN, _JSON, _FASTAPI, _HTTPX)),
    Ladder(("grpc-stock", "rest-stock"), (_STOCK_TO_LEAN, _LEAN, _LEAN_TO_STOCK)),
    Ladder(("grpc-client", "rest-client"), (_ENCODE_GRPC, _SERVICES, _ENCODE_REST)),
    Ladder(("grpc", "rest-one-connection"), (_ALL_BETWEEN, _POOL)),
    Ladder(("grpc", "rest-http3"), (_HTTP2_TLS, _QUIC)),
    Ladder(("grpc", "rest"), (_GRPCIO, _LEAN, _PROTOBUF, _JSON)),
    Ladder(("grpc", "rest"), (_PROTOCOL, _PROTOBUF, _JSON)),
    Ladder(("grpc", "rest"), (_ALL_BETWEEN, _JSON)),
    Ladder(("grpc", "rest-binary"), (_GRPCIO, _LEAN, _PROTOBUF)),
    Ladder(("grpc", "rest-binary"), (_PROTOCOL, _PROTOBUF)),
    Ladder(("grpc-lean", "rest-binary"), (_LEAN_CLIENT, _LEAN, _PROTOBUF)),
    Ladder(("grpc-lean-both", "rest-binary"), (_LEAN, _PROTOBUF)),
    Ladder(("grpc", "rest-protobuf"), (_GRPCIO, _LEAN)),
    Ladder(("grpc-typed", "rest"), (_TYPED, _GRPCIO, _LEAN, _PROTOBUF, _JSON)),
    Ladder(("grpc-typed", "rest"), (_TYPED, _PROTOCOL, _PROTOBUF, _JSON)),
    Ladder(("grpc-typed", "rest"), (_TYPED, _ALL_BETWEEN, _JSON)),
)
"""In order of preference for each pair: the first whose arms were all run is used."""


def ladder_for(pair: Sequence[str], arms: Sequence[str]) -> Ladder | None:
    """The finest ladder between a pair's arms that this run can climb."""
    return next((found for found in LADDERS if found.pair == tuple(pair) and found.arms <= set(arms)), None)


def parts(measures: Measures, cell: int, metric: str, ladder: Ladder) -> list[Part]:
    """Each rung's part of the gap with its interval over blocks; empty with fewer than two blocks."""
    found: list[Part] = []
    for rung in ladder.rungs:
        one, other = measures.paired(cell, rung.grpc_side, rung.rest_side, metric)
        amount = st.mean_interval(np.asarray(one, float) - np.asarray(other, float))
        if amount is None:
            return []
        found.append(Part(rung.cause, amount, (rung.grpc_side, rung.rest_side)))
    return found
