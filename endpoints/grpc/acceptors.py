"""Calls of one unary method taken from grpcio's core many at a time.

grpc.aio's server asks the core for one call, and for the next once its loop has seen that one. Of requests that come
together each waits for a turn of its own: from the core to the polling thread, to the event loop and back, through an
`asyncio.wait` and a task beside the two that answer. With as many places open as requests come, one turn tells of all.
What answers a call, and what notices that its client has gone, is grpc.aio's own; it is not public, so it is used with
the releases it was tested with.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpc._cython import cygrpc

if TYPE_CHECKING:
    from crossover.endpoints.grpc.listener import Handlers

PLACES = 32
"""More calls at once wait in the core, as all but one do without this."""
_LAST_TURN_SECONDS = 1.0


class Acceptors:
    """Beside the one place that the server keeps open itself. `start` it when the server has been started."""

    def __init__(self, server: Any, handlers: Handlers, service: str, name: str) -> None:
        """Before the `grpc.aio.Server` is started: calls of a method can be asked for when the core knows it by then."""
        self._path = f"/{service}/{name}"
        self._handler = handlers.of(self._path)
        self._core = server._server
        server.add_registered_method_handlers(service, {name: self._handler})
        self._accepting: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()
        """The loop itself holds tasks weakly."""

    def start(self) -> None:
        self._accepting = [asyncio.create_task(self._accept()) for _ in range(PLACES)]

    async def _accept(self) -> None:
        path, loop = self._path.encode(), asyncio.get_running_loop()
        while self._core.is_running():
            try:
                call = await self._core._request_registered_call(path)
            except cygrpc._RequestCallError:
                continue  # the server stops; or, as in grpc.aio's own loop, this call is lost and the next is not
            answer = cygrpc._handle_unary_unary_rpc(self._handler, call, loop)
            task = loop.create_task(cygrpc._schedule_rpc_coro(answer, call, loop, self._path))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def ended(self) -> None:
        """After the server was stopped: the core gives its places back. It still writes to them before, so they are not
        cancelled.
        """
        await asyncio.wait(self._accepting, timeout=_LAST_TURN_SECONDS)
