"""The lab's endpoints beside the model server's own: opened and closed with it, in the same process and event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from concurrent import futures
from typing import TYPE_CHECKING

import grpc
from grpc import aio

from crossover.comparison.lab import connect, grpc_bytes, http2, http3, stock_grpc, stock_rest
from crossover.comparison.lab.wires import (
    CONNECT_PORT,
    GRPC_PORT,
    HTTP2_PORT,
    LEAN_PORT,
    PORTS,
    QUIC_PORT,
    SOCKETS,
    STOCK_PORT,
    SYNC_PORT,
    missing,
    register_codecs,
)
from crossover.endpoints.grpc.lean import LeanListener
from crossover.endpoints.grpc.listener import Listener
from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.serve import RestListener
from crossover.endpoints.rest.types import RestOptions
from crossover.service.metrics import Observer
from crossover.transport.grpcio.poller import patient_poller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from crossover.protocol.inference import Inference

_GRACE_SECONDS = 2.0
_THREADS = 16


@contextlib.asynccontextmanager
async def endpoints(inference: Inference, host: str) -> AsyncIterator[None]:
    """Serve the lab's wires at `host`, on the ports that the environment names; none where it names none."""
    if STOCK_PORT not in os.environ:
        yield
        return
    register_codecs()
    port = {name: int(os.environ[name]) for name in PORTS}
    listeners: list[RestListener | Listener] = [
        RestListener(stock_rest.app(inference), host, port[STOCK_PORT]),
        LeanListener(inference, host, port[LEAN_PORT]),
    ]
    if not missing("connect"):
        listeners.append(RestListener(connect.app(inference), host, port[CONNECT_PORT]))
    for listener in listeners:
        await listener.start()
    server = _grpc_server(inference, f"{host}:{port[GRPC_PORT]}")
    await server.start()
    threaded = _threaded_server(inference, f"{host}:{port[SYNC_PORT]}")
    threaded.start()
    plain = OipRest(lambda _: (None, inference), settings=RestOptions(), observer=Observer())
    try:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(http2.served(plain, host, port[HTTP2_PORT]))
            if SOCKETS in os.environ and not missing("rest-http3"):
                await stack.enter_async_context(http3.served(plain, host, port[QUIC_PORT]))
            yield
    finally:
        threaded.stop(_GRACE_SECONDS)
        await asyncio.gather(server.stop(_GRACE_SECONDS), *(listener.stop(_GRACE_SECONDS) for listener in listeners))


def _grpc_server(inference: Inference, address: str) -> aio.Server:
    with patient_poller():
        server = aio.server(options=stock_grpc.UNLIMITED)
    for method, handler in (
        *((kind.method, stock_grpc.handler(kind, inference)) for kind in (stock_grpc.TYPED, stock_grpc.RAW)),
        *((kind.method, grpc_bytes.handler(kind, inference)) for kind in (grpc_bytes.JSON, grpc_bytes.GZIP)),
    ):
        _, service, name = method.split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    server.add_insecure_port(address)
    return server


def _threaded_server(inference: Inference, address: str) -> grpc.Server:
    """grpcio's synchronous server with the pool that its documentation shows, made wide enough for the lab's callers."""
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=stock_grpc.UNLIMITED)
    _, service, name = stock_grpc.TYPED.method.split("/")
    handler = stock_grpc.sync_handler(stock_grpc.TYPED, inference, asyncio.get_running_loop())
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    server.add_insecure_port(address)
    return server
