"""The lab's own wires, in the form of the registry; processes of the lab add them, services that users run do not."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from crossover.protocol.codecs.registry import BINARY, CODECS, JSON, PROTOBUF, TYPED, CodecLine
from crossover.protocol.datatypes import DATATYPES
from crossover.protocol.wires import WIRES, Target, Wire

_PLAIN = frozenset(DATATYPES) - {"FP16", "BF16", "BYTES"}
GRPC_PORT, STOCK_PORT, HTTP2_PORT, LEAN_PORT, SYNC_PORT, CONNECT_PORT, QUIC_PORT = PORTS = (
    "LAB_GRPC_PORT", "LAB_STOCK_PORT", "LAB_HTTP2_PORT", "LAB_LEAN_PORT", "LAB_SYNC_PORT", "LAB_CONNECT_PORT",
    "LAB_QUIC_PORT",
)  # fmt: skip
"""Environment variables with the ports of the lab's endpoints, for both sides."""
SOCKETS = "MODEL_SERVER_UNIX_SOCKETS"
"""The folder of the model server's Unix sockets, likewise."""
UNIX_WIRES = ("rest-unix", "grpc-unix")
"""Wires that cannot leave the host."""
TLS_WIRES = ("rest-http2-tls", "rest-http3")
"""Wires whose certificate is in the folder that both sides of a run share."""

_HERE = "crossover.comparison.lab"

STDLIB = CodecLine("stdlib", f"{_HERE}.codecs:STDLIB", "application/vnd.crossover.stdlib+json")
BASE64 = CodecLine("base64", f"{_HERE}.codecs:BASE64", "application/vnd.crossover.base64+json")

LAB_WIRES: dict[str, Wire] = {
    wire.name: wire
    for wire in (
        Wire("rest-stdlib", "crossover.clients.rest:connect", "rest", STDLIB, _PLAIN,
             summary="HTTP/1.1, JSON by the standard library both ways"),
        Wire("rest-base64", "crossover.clients.rest:connect", "rest", BASE64, _PLAIN,
             summary="HTTP/1.1, JSON with each tensor as base64 text"),
        Wire("rest-no-keepalive", f"{_HERE}.libraries:connect_no_keepalive", "rest", JSON, _PLAIN,
             summary="as rest, with a new connection for each request (diagnostic)"),
        Wire("rest-httpx", f"{_HERE}.libraries:connect_httpx", "rest", JSON, _PLAIN,
             summary="as rest, with httpx as the client's library"),
        Wire("rest-aiohttp", f"{_HERE}.libraries:connect_aiohttp", "rest", JSON, _PLAIN,
             summary="as rest, with aiohttp as the client's library"),
        Wire("rest-hypercorn", f"{_HERE}.http2:connect_http1", "rest", JSON, _PLAIN,
             summary="as rest-httpx, with the plain routes on hypercorn"),
        Wire("rest-http2", f"{_HERE}.http2:connect_http2", "rest", JSON, _PLAIN,
             summary="as rest-hypercorn, over HTTP/2"),
        Wire("rest-httpx2", f"{_HERE}.libraries:connect_httpx2", "rest", JSON, _PLAIN,
             summary="as rest-httpx, with its successor httpx2"),
        Wire("rest-http2-tls", f"{_HERE}.http3:connect_http2", "rest", JSON, _PLAIN,
             summary="as rest-http2, with TLS and with pyqwest as the client's library"),
        Wire("rest-http3", f"{_HERE}.http3:connect_http3", "rest", JSON, _PLAIN,
             summary="as rest-http2-tls, over HTTP/3 (QUIC)"),
        Wire("rest-fastapi", f"{_HERE}.libraries:connect_fastapi", "rest", JSON, _PLAIN,
             summary="as rest, with a stock FastAPI and pydantic server"),
        Wire("rest-stock", f"{_HERE}.stock_rest:connect", "rest", JSON, _PLAIN,
             summary="as usually written: httpx, json, FastAPI and pydantic, all stock"),
        Wire("rest-stock-binary", f"{_HERE}.stock_rest:connect_binary", "rest", BINARY, _PLAIN,
             summary="best with stock libraries: aiohttp, Starlette, binary tensors by orjson and numpy"),
        Wire("rest-gzip", f"{_HERE}.libraries:connect_gzip", "rest", JSON, _PLAIN,
             summary="as rest, with gzip both ways"),
        Wire("rest-blocking", f"{_HERE}.blocking:connect_rest", "rest", BINARY, _PLAIN,
             summary="as rest-binary, by threads that wait (http.client)"),
        Wire("rest-one-connection", f"{_HERE}.libraries:connect_one_connection", "rest", BINARY, _PLAIN,
             summary="as rest-binary, over one connection, on which calls take turns"),
        Wire("rest-unix", f"{_HERE}.libraries:connect_rest_unix", "rest", BINARY, _PLAIN,
             summary="as rest-binary, over a Unix socket"),
        Wire("grpc-unix", f"{_HERE}.libraries:connect_grpc_unix", "grpc", PROTOBUF, _PLAIN,
             summary="as grpc, over a Unix socket"),
        Wire("grpc-json", f"{_HERE}.grpc_bytes:connect_json", "grpc", JSON, _PLAIN,
             summary="one unary gRPC call with JSON text as its message"),
        Wire("grpc-stock", f"{_HERE}.stock_grpc:connect_typed", "grpc", TYPED, _PLAIN,
             summary="as usually written: grpc.aio stub and servicer, typed contents from lists"),
        Wire("grpc-stock-sync", f"{_HERE}.stock_grpc:connect_sync", "grpc", TYPED, _PLAIN,
             summary="as grpc-stock, with grpcio's threaded server"),
        Wire("grpc-stock-raw", f"{_HERE}.stock_grpc:connect_raw", "grpc", PROTOBUF, _PLAIN,
             summary="best with stock libraries: grpc.aio stub and servicer, raw contents from arrays"),
        Wire("connect", f"{_HERE}.connect:connect", "grpc", PROTOBUF, _PLAIN,
             summary="as grpc-stock-raw, by the Connect protocol over HTTP/1.1 (connectrpc on both ends)"),
        Wire("grpc-lean-both", f"{_HERE}.libraries:connect_grpc_lean_both", "grpc", PROTOBUF, _PLAIN,
             summary="as grpc-lean, with the call answered by a lean server too: gRPC without its library"),
        Wire("grpc-gzip", f"{_HERE}.grpc_bytes:connect_gzip", "grpc", PROTOBUF, _PLAIN,
             summary="as grpc, with gRPC's gzip both ways"),
        Wire("grpc-blocking", f"{_HERE}.blocking:connect_grpc", "grpc", PROTOBUF, _PLAIN,
             summary="as grpc, by threads that wait (the synchronous stub)"),
    )
}  # fmt: skip


NEEDS = {
    "connect": ("connectrpc",), "rest-httpx2": ("httpx2",), "rest-http2-tls": ("aioquic", "pyqwest"),
    "rest-http3": ("aioquic", "pyqwest"),
}  # fmt: skip
"""Packages of wires that `make compare` does not install for: requirements/arms.txt."""


def missing(name: str) -> str:
    """What is not installed that the wire `name` needs, and how it is; empty when nothing is missing."""
    lacks = [package for package in NEEDS.get(name, ()) if find_spec(package) is None]
    if not lacks:
        return ""
    return f"{' and '.join(lacks)}, not installed here: .venv/bin/pip install -r requirements/arms.txt"


def register() -> None:
    """Make the lab's wires known to this process's registry."""
    WIRES.update(LAB_WIRES)
    register_codecs()


def register_codecs() -> None:
    """Make this process read and write the lab's bodies; the model server needs no more than that."""
    CODECS.update({line.name: line for line in (STDLIB, BASE64)})


def address(target: Target, variable: str) -> str:
    """host:port of one of the lab's endpoints: on the model server's host, at the port that the target or the environment names."""
    host = urlsplit(target.rest).hostname
    return f"{host}:{target.options.get(variable) or os.environ[variable]}"


def socket(target: Target, name: str) -> str:
    """unix:PATH of one of the model server's Unix sockets."""
    return f"unix:{folder(target)}/{name}.sock"


def folder(target: Target | None = None) -> Path:
    """The folder that both sides of a run share."""
    return Path((target.options.get(SOCKETS) if target else None) or os.environ[SOCKETS])
