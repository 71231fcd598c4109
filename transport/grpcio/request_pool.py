"""Calls of one method, which answers with one message, taken from grpcio's core many at a time.

grpc.aio's server asks the core for one call, and for the next once its loop has seen that one. Of requests that come
together each waits for a turn of its own: from the core to the polling thread, to the event loop and back, through an
`asyncio.wait` and a task beside the two that answer. With a pool of requests open at the core, one wake-up of the loop
delivers all calls that have come. What answers a call, and what notices that its client has gone, is grpc.aio's own; it
is not public, so it is used with the releases that it was tested with (release.py).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio
from grpc._cython import cygrpc

from crossover.transport.grpcio import first_message

if TYPE_CHECKING:
    from collections.abc import Generator

POOL_SIZE = 32
"""Calls beyond this wait in the core."""
_LAST_TURN_SECONDS = 1.0


class _CallHandler:
    """Its method's handler for one call, which learns in this way that the call's message has come.

    It is what it gives as `unary_unary`, and awaitable: that is the first thing grpc.aio asks of a handler to find out whether
    it is asynchronous, and the cheapest by far.
    """

    __slots__ = ("_answer", "_unheard", "request_deserializer", "response_serializer", "since")

    def __init__(self, handler: Any, unheard: dict[_CallHandler, Any], since: float) -> None:
        self._answer = handler.unary_unary
        self.request_deserializer = handler.request_deserializer
        self.response_serializer = handler.response_serializer
        self._unheard = unheard
        self.since = since
        """The loop's time when the call came."""

    @property
    def unary_unary(self) -> _CallHandler:
        return self

    def __call__(self, data: Any, rpc: Any) -> Any:
        self._unheard.pop(self, None)
        return self._answer(data, rpc)

    def __await__(self) -> Generator[None, None, None]:
        raise TypeError("a handler is called")


class RequestPool:
    """Stands beside the one request that the server keeps open itself. `start` it when the server has been started."""

    def __init__(self, server: Any, handler: Any, service: str, name: str) -> None:
        """Before the `grpc.aio.Server` is started: the core must know the method by then. `handler` (unary_unary) answers its
        calls.
        """
        self._path = f"/{service}/{name}"
        self._handler = handler
        self._core = server._server
        server.add_registered_method_handlers(service, {name: first_message.awaiting_message(handler)})
        self._accepting: list[asyncio.Task[None]] = []
        self._calls: set[asyncio.Task[None]] = set()
        """The loop itself holds tasks weakly."""
        self._unheard: dict[_CallHandler, Any] = {}
        """Calls whose message has not come, oldest first, each under its handler."""
        self._looking: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._accepting = [asyncio.create_task(self._accept()) for _ in range(POOL_SIZE)]

    async def _accept(self) -> None:
        path, loop = self._path.encode(), asyncio.get_running_loop()
        while self._core.is_running():
            try:
                call = await self._core._request_registered_call(path)
            except cygrpc._RequestCallError:
                continue  # the server stops; or, as in grpc.aio's own loop, this call is lost and the next is not
            task = loop.create_task(cygrpc._schedule_rpc_coro(self._serve(call, loop), call, loop, self._path))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _serve(self, call: Any, loop: asyncio.AbstractEventLoop) -> None:
        """One call; grpc.aio gives one without a message up in silence."""
        handler = _CallHandler(self._handler, self._unheard, loop.time())
        self._unheard[handler] = call
        if self._looking is None:
            self._looking = loop.call_later(first_message.MESSAGE_SECONDS / 4, self._look, loop)
        try:
            await cygrpc._handle_unary_unary_rpc(handler, call, loop)
        except aio.AbortError as ended:
            # The call keeps it, and the frames that it came through keep the call: each refusal would leave a circle of some
            # seventy objects, and under overload the garbage collector stops everybody for a tenth of a second.
            ended.__traceback__ = ended.__context__ = None
            del call
            raise
        finally:
            unheard = self._unheard.pop(handler, None)
        if unheard is not None:
            await _end(call, loop, first_message.NO_MESSAGE)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the calls that have waited for too long."""
        self._looking = None
        late = loop.time() - first_message.MESSAGE_SECONDS
        for handler, call in list(self._unheard.items()):
            if handler.since > late:
                break
            del self._unheard[handler]
            ending = loop.create_task(_end(call, loop, first_message.too_late()))
            self._calls.add(ending)
            ending.add_done_callback(self._calls.discard)
        if self._unheard:
            self._looking = loop.call_later(first_message.MESSAGE_SECONDS / 4, self._look, loop)

    async def ended(self) -> None:
        """After the server was stopped: the core returns the open requests. It still writes to them before that, so they
        are not cancelled.
        """
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.wait(self._accepting, timeout=_LAST_TURN_SECONDS)


async def _end(call: Any, loop: asyncio.AbstractEventLoop, status: tuple[grpc.StatusCode, str]) -> None:
    """End a call that nobody answers; nothing where its client has ended it."""
    rpc = cygrpc._ServicerContext(call, None, None, loop)
    if not rpc.done():
        with suppress(aio.AbortError):
            await rpc.abort(*status)
