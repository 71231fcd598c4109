"""A unary method called with bytes, without the task and the futures that grpc.aio puts around each call.

grpc.aio's `UnaryUnaryCall` may be awaited, iterated and asked from many places; a call that is awaited once, where it
is made, needs none of it, which saves a tenth to a quarter of the client's CPU. The core's call object underneath is not
public, so it is used with the releases of grpcio that it was tested with (release.py), and grpc.aio's with others.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from grpc import aio

from crossover.protocol import deadline
from crossover.transport.grpc.metadata import Metadata
from crossover.transport.grpc.status import CallFailedError, ClientClosedError, Status
from crossover.transport.grpcio.release import UNARY_CALL

_CLOSED = "the client was closed"
_GIVEN_UP = "the caller gave the call up"


def status_of(error: aio.AioRpcError) -> Status:
    """The end of a call as grpc.aio's public error tells it."""
    return Status(error.code().value[0], error.details() or "", tuple(error.trailing_metadata() or ()))


class GrpcioMethod:
    """One method of a channel, see `transport.grpc.status.UnaryMethod`. `close` ends the calls under way."""

    def __init__(self, channel: aio.Channel, path: str) -> None:
        self._public = channel.unary_unary(path)
        self._core: Any = getattr(self._public, "_channel", None) if UNARY_CALL.check() else None
        self._path = path.encode()
        self._under_way: set[Any] = set()

    async def call(
        self, data: bytes, until: float, metadata: tuple[tuple[str, str], ...], *, trailing: bool = False
    ) -> tuple[bytes, Metadata]:
        if self._core is None:
            return await self._publicly(data, until, metadata)
        ends = None if until == deadline.NEVER else time.time() + max(0.0, until - time.monotonic())
        try:
            call = self._core.call(self._path, ends, None, None, 0)
        except aio.UsageError:
            raise ClientClosedError from None
        self._under_way.add(call)
        try:
            reply = await call.unary_unary(data, metadata, None)
        except asyncio.CancelledError:
            if not call.done():
                call.cancel(_GIVEN_UP)
            raise
        finally:
            self._under_way.discard(call)
        if call.is_ok():
            return reply, ((await call.status()).trailing_metadata() or ()) if trailing else ()
        status = await call.status()
        raise CallFailedError(Status(status.code(), status.details() or "", status.trailing_metadata() or ()))

    async def _publicly(
        self, data: bytes, until: float, metadata: tuple[tuple[str, str], ...]
    ) -> tuple[bytes, Metadata]:
        try:
            call = self._public(data, timeout=deadline.timeout_of(until), metadata=metadata or None)
        except aio.UsageError:
            raise ClientClosedError from None
        self._under_way.add(call)
        try:
            return await call, tuple(await call.trailing_metadata() or ())
        except aio.AioRpcError as error:
            raise CallFailedError(status_of(error)) from None
        except asyncio.CancelledError:
            if call.cancelled() and not _is_cancelling():  # by `close`
                raise CallFailedError(Status(_CANCELLED, _CLOSED)) from None
            raise
        finally:
            self._under_way.discard(call)

    def close(self) -> None:
        for call in list(self._under_way):
            call.cancel(_CLOSED) if self._core is not None else call.cancel()


_CANCELLED = 1


def _is_cancelling() -> bool:
    """Whether it is the caller's own task that is being cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
