"""`grpc-stream`: long-lived bidirectional streams, requests and answers on them matched by id.

A stream has one deadline and one cancel for all that is on it, so each request carries its own in its message (see
protocol/streaming.py). When the stream breaks, what was under way is UNAVAILABLE and the next request opens another.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import time
from collections import deque
from contextlib import suppress
from typing import Any

from grpc import aio

from crossover.clients.grpc_channel import GrpcChannel
from crossover.clients.grpc_control import GrpcControl
from crossover.clients.grpc_status import error_of, unreadable
from crossover.clients.stream_pool import StreamPool
from crossover.protocol import deadline, streaming
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError, lost_connection
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.wires import Target, bearer
from crossover.protos import inference as pb
from crossover.transport.deadline_queue import Entry, deadline_queue
from crossover.transport.grpc.status import ClientClosedError
from crossover.transport.grpcio.link import Link
from crossover.transport.grpcio.unary_call import status_of

_PATH = f"/{pb.SERVICE}/ModelStreamInfer"
_METADATA = ((streaming.ORDER, streaming.ANY), (streaming.LEAVING_ASKED, "true"))
"""Answers are told apart by id here, so a slow one need not hold up the others; a service that does not know this may
ignore it."""


def connect(target: Target) -> GrpcStream:
    """A client that keeps its streams open."""
    return GrpcStream(target)


IDLE_SECONDS = 240.0
"""A stream unused for so long is not used again: the service may be about to end it (after 600 s, ours)."""


class _Waiting(Entry):
    """One request under way; it is its own entry among the deadlines."""

    __slots__ = ("context", "future")

    def __init__(self, future: asyncio.Future[InferResponse], context: CallContext) -> None:
        super().__init__(context.deadline)
        self.future = future
        self.context = context

    def expired(self) -> None:
        if not self.future.done():
            self.future.set_exception(deadline.exceeded("while waiting for the model server"))


class _Stream:
    """One open stream and the requests on it."""

    def __init__(self, call: Any, link: Link, target: str) -> None:
        self.call = call
        self.link = link
        self.target = target
        self.waiting: dict[str, _Waiting] = {}
        self.closing = False
        self._leaving = False
        self.used = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._deadlines = deadline_queue(self._loop)
        self._outgoing: deque[bytes | None] = deque()
        """None at the end."""
        self._idle: asyncio.Future[None] | None = None
        """Done when there is something to write; None while something is written."""
        self.tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._read())]

    def leave(self) -> None:
        """The service goes away: what was sent is answered, and nothing more is sent."""
        if not self._leaving:
            self._leaving = True
            self.send(None)

    def begin(self, identity: str, message: bytes, context: CallContext) -> _Waiting:
        """Send a request, to be followed by `end`; its `future` has the answer."""
        self.used = time.monotonic()
        waiting = self.waiting[identity] = _Waiting(self._loop.create_future(), context)
        waiting.enter(self._deadlines)
        self.link.begin()
        self.send(message)
        return waiting

    def end(self, identity: str, waiting: _Waiting) -> None:
        """Nobody waits for the answer any more; when it has not come, the service is told."""
        waiting.cancel()
        self.link.end()
        if self.waiting.pop(identity, None) is not None and not self.broken:
            self.send(streaming.cancel_message(identity))

    def send(self, message: bytes | None) -> None:
        """Write one message when those before it have left; None: nothing follows."""
        self._outgoing.append(message)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def lose(self) -> None:
        """The connection is silent, and the service answers elsewhere."""
        self._break(lost_connection(f"the stream to {self.target} is silent"))

    async def _write(self) -> None:
        with suppress(asyncio.CancelledError, aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                if not self._outgoing:
                    self._idle = self._loop.create_future()
                    await self._idle
                    self._idle = None
                elif (message := self._outgoing.popleft()) is not None:
                    await self.call.write(message)
                else:
                    await self.call.done_writing()
                    return

    async def _read(self) -> None:
        lost = lost_connection(f"the stream to {self.target} ended before the answer")
        try:
            while (data := await self.call.read()) is not aio.EOF:
                self._deliver(data)
        except aio.AioRpcError as error:
            lost = error_of(status_of(error), self.target)
        except InferenceError as error:
            lost = unreadable(error, self.target)
        except asyncio.CancelledError:
            lost = InferenceError(Code.UNAVAILABLE, f"the stream to {self.target} was closed")
        finally:
            self._break(lost)

    def _deliver(self, data: bytes) -> None:
        self.link.hear()
        text, response = protobuf_codec.decode_stream_response(data)
        if streaming.LEAVING in response.parameters:
            self.leave()
            return
        found = self.waiting.pop(response.id, None)
        if found is None or found.future.done():
            return
        found.context.mark("answered")
        found.context.bytes_received = len(data)
        if found.context.recording is not None:
            found.context.recording.end(0, [], data)
        if text:
            found.future.set_exception(streaming.stream_error(text, response))
        else:
            found.future.set_result(response)

    @property
    def broken(self) -> bool:
        """It takes no more requests."""
        if self._leaving or self.link.retired:
            return True
        if not self.closing and not self.waiting and time.monotonic() - self.used > IDLE_SECONDS:
            self.closing = True
            self.call.cancel()  # which ends its tasks
        return self.closing

    def _break(self, error: InferenceError) -> None:
        self.closing = True
        for found in self.waiting.values():
            if not found.future.done():
                found.future.set_exception(copy.copy(error))
        self.waiting.clear()
        self.tasks[0].cancel()
        self.call.cancel()

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.call.cancel()


class GrpcStream(GrpcControl):
    """`Inference` over streams; the control plane uses unary calls beside them."""

    def __init__(self, target: Target) -> None:
        self._channel = GrpcChannel(target)
        super().__init__(target, self._channel)
        self._streams = StreamPool(self._opened)
        self._numbers = itertools.count(1)

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        deadline.check(context.deadline, "before the call was sent")
        identity = str(next(self._numbers))
        data = protobuf_codec.encode_request(streaming.numbered(request, identity, context))
        self.check_size(data)
        context.bytes_sent = len(data)
        if context.recording is not None:
            context.recording.begin(_PATH, [], data)
            context.recording.stream = True
        stream = self._streams.take()
        waiting = stream.begin(identity, data, context)
        context.mark("sent")
        try:
            response = await waiting.future
        finally:
            stream.end(identity, waiting)
            self._streams.give_back(stream)
        response.id = request.id
        told = response.parameters.pop(streaming.TIMELINE, None)
        if context.timeline is not None and isinstance(told, str):
            context.timeline.adopt(told)
        context.mark("read")
        return response

    def _opened(self) -> _Stream:
        try:
            call, link = self._channel.stream(_PATH, (*_METADATA, *bearer(self.target)))
        except ClientClosedError:
            raise InferenceError(Code.UNAVAILABLE, f"the client of {self.target.grpc} is closed") from None
        link.lost = self._lose_silent
        return _Stream(call, link, self.target.grpc)

    def _lose_silent(self) -> None:
        for stream in self._streams.all():
            if stream.link.retired:
                stream.lose()

    async def close(self) -> None:
        await asyncio.gather(*(stream.close() for stream in self._streams.emptied()))
        await super().close()
