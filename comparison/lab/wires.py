"""The lab's own wires, in the form of the registry; processes of the lab add them, services that users run do not."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.wires import WIRES, Target, Wire

_PLAIN = frozenset(DATATYPES) - {"FP16", "BF16", "BYTES"}
REST_PORT, GRPC_PORT, STOCK_PORT, HTTP2_PORT, LEAN_PORT = PORTS = (
    "LAB_REST_PORT", "LAB_GRPC_PORT", "LAB_STOCK_PORT", "LAB_HTTP2_PORT", "LAB_LEAN_PORT",
)  # fmt: skip
"""Environment variables with the ports of the lab's endpoints, for both sides."""
SOCKETS = "MODEL_SERVER_UNIX_SOCKETS"
"""The folder of the model server's Unix sockets, likewise."""
UNIX_WIRES = ("rest-unix", "grpc-unix")
"""Wires that cannot leave the host."""

_HERE = "crossover.comparison.lab"

LAB_WIRES: dict[str, Wire] = {
    wire.name: wire
    for wire in (
        Wire("rest-protobuf", f"{_HERE}.bodies:connect_protobuf", "rest", _PLAIN,
             summary="HTTP/1.1 with gRPC's own message as the body"),
        Wire("rest-stdlib", f"{_HERE}.bodies:connect_stdlib", "rest", _PLAIN,
             summary="HTTP/1.1, JSON by the standard library both ways"),
        Wire("rest-base64", f"{_HERE}.bodies:connect_base64", "rest", _PLAIN,
             summary="HTTP/1.1, JSON with each tensor as base64 text"),
        Wire("rest-no-keepalive", f"{_HERE}.libraries:connect_no_keepalive", "rest", _PLAIN,
             summary="as rest, with a new connection for each request (diagnostic)"),
        Wire("rest-httpx", f"{_HERE}.libraries:connect_httpx", "rest", _PLAIN,
             summary="as rest, with httpx as the client's library"),
        Wire("rest-aiohttp", f"{_HERE}.libraries:connect_aiohttp", "rest", _PLAIN,
             summary="as rest, with aiohttp as the client's library"),
        Wire("rest-hypercorn", f"{_HERE}.http2:connect_http1", "rest", _PLAIN,
             summary="as rest-httpx, with the plain routes on hypercorn"),
        Wire("rest-http2", f"{_HERE}.http2:connect_http2", "rest", _PLAIN,
             summary="as rest-hypercorn, over HTTP/2"),
        Wire("rest-fastapi", f"{_HERE}.libraries:connect_fastapi", "rest", _PLAIN,
             summary="as rest, with a stock FastAPI and pydantic server"),
        Wire("rest-stock", f"{_HERE}.stock_rest:connect", "rest", _PLAIN,
             summary="as usually written: httpx, json, FastAPI and pydantic, all stock"),
        Wire("rest-stock-binary", f"{_HERE}.stock_rest:connect_binary", "rest", _PLAIN,
             summary="best with stock libraries: aiohttp, Starlette, binary tensors by orjson and numpy"),
        Wire("rest-gzip", f"{_HERE}.libraries:connect_gzip", "rest", _PLAIN,
             summary="as rest, with gzip both ways"),
        Wire("rest-blocking", f"{_HERE}.blocking:connect_rest", "rest", _PLAIN,
             summary="as rest-binary, by threads that wait (http.client)"),
        Wire("rest-unix", f"{_HERE}.libraries:connect_rest_unix", "rest", _PLAIN,
             summary="as rest-binary, over a Unix socket"),
        Wire("grpc-unix", f"{_HERE}.libraries:connect_grpc_unix", "grpc", _PLAIN,
             summary="as grpc, over a Unix socket"),
        Wire("grpc-json", f"{_HERE}.grpc_bytes:connect_json", "grpc", _PLAIN,
             summary="one unary gRPC call with JSON text as its message"),
        Wire("grpc-stock", f"{_HERE}.stock_grpc:connect_typed", "grpc", _PLAIN,
             summary="as usually written: grpc.aio stub and servicer, typed contents from lists"),
        Wire("grpc-stock-raw", f"{_HERE}.stock_grpc:connect_raw", "grpc", _PLAIN,
             summary="best with stock libraries: grpc.aio stub and servicer, raw contents from arrays"),
        Wire("grpc-lean-both", f"{_HERE}.libraries:connect_grpc_lean_both", "grpc", _PLAIN,
             summary="as grpc-lean, with the call answered by a lean server too: gRPC without its library"),
        Wire("grpc-gzip", f"{_HERE}.grpc_bytes:connect_gzip", "grpc", _PLAIN,
             summary="as grpc, with gRPC's gzip both ways"),
        Wire("grpc-blocking", f"{_HERE}.blocking:connect_grpc", "grpc", _PLAIN,
             summary="as grpc, by threads that wait (the synchronous stub)"),
    )
}  # fmt: skip


def register() -> None:
    """Make the lab's wires known to this process's registry."""
    WIRES.update(LAB_WIRES)


def address(target: Target, variable: str) -> str:
    """host:port of one of the lab's endpoints: on the model server's host, at the port that the target or the environment names."""
    host = urlsplit(target.rest).hostname
    return f"{host}:{target.options.get(variable) or os.environ[variable]}"


def socket(target: Target, name: str) -> str:
    """unix:PATH of one of the model server's Unix sockets."""
    return f"unix:{target.options.get(SOCKETS) or os.environ[SOCKETS]}/{name}.sock"
