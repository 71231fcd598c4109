"""HTTP/2 for REST, where well-kept parts give it: the plain routes on hypercorn, called by httpx.

Two steps, since uvicorn has no HTTP/2: hypercorn and httpx over HTTP/1.1, and the same over HTTP/2 in plain text.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

from hypercorn.asyncio import serve
from hypercorn.config import Config

from crossover.comparison.lab.libraries import HttpxClient
from crossover.comparison.lab.wires import HTTP2_PORT, address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from crossover.endpoints.rest.types import ASGIApp
    from crossover.protocol.inference import Inference
    from crossover.protocol.wires import Target

_KEEP_ALIVE_SECONDS = 75
_MOST_REQUESTS = 10**9
"""On one connection; hypercorn's own limit would end it every thousand requests."""


def connect_http1(target: Target) -> Inference:
    return HypercornClient(target, http2=False)


def connect_http2(target: Target) -> Inference:
    return HypercornClient(target, http2=True)


class HypercornClient(HttpxClient):
    """As `rest-httpx`, to hypercorn."""

    def __init__(self, target: Target, *, http2: bool) -> None:
        super().__init__(target, http1=not http2, http2=http2)
        self._url = f"http://{address(target, HTTP2_PORT)}"


@contextlib.asynccontextmanager
async def served(app: ASGIApp, host: str, port: int) -> AsyncIterator[None]:
    """Serve `app` by hypercorn, HTTP/1.1 and HTTP/2 with prior knowledge on one port."""
    config = Config()
    config.bind = [f"{host}:{port}"]
    async with running(app, config):
        yield


@contextlib.asynccontextmanager
async def running(app: ASGIApp, config: Config) -> AsyncIterator[None]:
    """Serve `app` by hypercorn as `config` says, with connections that last."""
    config.keep_alive_timeout = _KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = _MOST_REQUESTS
    config.loglevel = "WARNING"
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(cast(Any, app), config, shutdown_trigger=cast(Any, stop.wait)))
    try:
        yield
    finally:
        stop.set()
        await serving
