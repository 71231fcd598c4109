"""Calls of one method, which answers with one message, taken from grpcio's core many at a time.

grpc.aio's server asks the core for one call, and for the next once its loop has seen that one. Of requests that come
together each waits for a turn of its own: from the core to the polling thread, to the event loop and back, through an
`asyncio.wait` and a task beside the two that answer. With a pool of requests open at the core, one wake-up of the loop
delivers all calls that have come. What answers a call, and what notices that its client has gone, is grpc.aio's own; it
is not public, so it is used with the releases that it was tested with (release.py).
"""

from __future__ import annotations

import asyncio
from typing import Any

from grpc._cython import cygrpc

POOL_SIZE = 32
"""Calls beyond this wait in the core."""
_LAST_TURN_SECONDS = 1.0


class RequestPool:
    """Stands beside the one request that the server keeps open itself. `start` it when the server has been started."""

    def __init__(self, server: Any, handler: Any, service: str, name: str) -> None:
        """Before the `grpc.aio.Server` is started: the core must know the method by then. `handler` (stream_unary) answers its
        calls.
        """
        self._path = f"/{service}/{name}"
        self._handler = handler
        self._core = server._server
        server.add_registered_method_handlers(service, {name: handler})
        self._accepting: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()
        """The loop itself holds tasks weakly."""

    def start(self) -> None:
        self._accepting = [asyncio.create_task(self._accept()) for _ in range(POOL_SIZE)]

    async def _accept(self) -> None:
        path, loop = self._path.encode(), asyncio.get_running_loop()
        while self._core.is_running():
            try:
                call = await self._core._request_registered_call(path)
            except cygrpc._RequestCallError:
                continue  # the server stops; or, as in grpc.aio's own loop, this call is lost and the next is not
            answer = cygrpc._handle_stream_unary_rpc(self._handler, call, loop)
            task = loop.create_task(cygrpc._schedule_rpc_coro(answer, call, loop, self._path))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def ended(self) -> None:
        """After the server was stopped: the core returns the open requests. It still writes to them before that, so they
        are not cancelled.
        """
        await asyncio.wait(self._accepting, timeout=_LAST_TURN_SECONDS)
