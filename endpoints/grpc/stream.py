"""ModelStreamInfer: many calls over one stream (Triton's extension).

Requests run beside each other. Answers leave in the order of the requests, as Triton's do for models that are not
decoupled; the metadata `crossover-stream-order: any` lets an answer leave as soon as it is ready where its request has an
id to be told by (a request without one waits for those before it). The RPC stays OK whatever happens to one request: its
error travels in `error_message`, with the request's id and the name of our code beside it. With the metadata
`triton_grpc_error: true` the first error ends the stream with its own status instead. Deadlines, cancelling and headers
travel in the stream's own messages (protocol/streaming.py), where gRPC's own would concern the whole stream.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from crossover.endpoints.grpc.errors import abort, log
from crossover.endpoints.grpc.operations import StreamedInfer
from crossover.protocol import streaming
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import InferenceError
from crossover.protocol.limits import is_heavy
from crossover.transport.eager_start import begin

if TYPE_CHECKING:
    from crossover.endpoints.grpc.answer import Answering
    from crossover.protocol.messages import InferRequest

MOST_AT_ONCE = 1024
"""Requests of one stream that run or whose answers wait; the stream is not read on beyond, so that the sender feels it."""
MOST_BYTES = 64 << 20
"""Bytes of these requests and answers, likewise; twice the largest message where that is more."""
LAST_READ_SECONDS, QUIET_SECONDS = 1.0, 0.1
"""How long a stream is read on when the service stops, at most, and without a message."""
IDLE_SECONDS = 600.0
"""A stream on which nothing happens for so long is ended."""


class _Slot:
    """One request's place in the stream."""

    __slots__ = ("answered", "error", "held", "identity", "message", "ordered")

    def __init__(self, identity: str, ordered: bool, held: int, message: bytes = b"") -> None:
        self.identity = identity
        self.ordered = ordered
        self.held = held
        """Bytes that it counts for."""
        self.answered = False
        self.message = message
        """Empty when it was cancelled."""
        self.error: InferenceError | None = None
        """What ends the stream."""


class StreamOfCalls:
    """One open stream."""

    def __init__(self, answering: Answering, rpc: Any) -> None:
        metadata = dict(rpc.invocation_metadata() or ())
        self._any_order = metadata.get(streaming.ORDER) == streaming.ANY
        self._is_told = metadata.get(streaming.LEAVING_ASKED) == "true"
        self._errors_end_it = metadata.get(streaming.TRITON_GRPC_ERROR) == "true"
        self._answering = answering
        self._rpc = rpc
        self._most_bytes = max(MOST_BYTES, 2 * answering.options.max_message_bytes)
        self._calls: dict[str, asyncio.Task[None]] = {}
        """Those that can be cancelled, by id."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._order: deque[_Slot] = deque()
        """Requests whose answers wait for the ones before them."""
        self._ready: deque[_Slot] = deque()
        """Answers that may leave."""
        self._slots = 0
        self._held = 0
        self._largest_reply = 0
        self._released = asyncio.Event()
        """An answer has left, or the stream is over."""
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.Future[None] | None = None
        """Done when there is something to write; None while something is written."""
        self._ended: asyncio.Future[InferenceError | None] = self._loop.create_future()
        """The stream is over: nobody reads it any more, or an error ends it."""
        self._ended.add_done_callback(lambda _: self._released.set())
        self._active = time.monotonic()

    async def run(self, requests: Any, leaving: asyncio.Event, draining: asyncio.Event) -> None:
        """Read until the client closes its side or the service stops, then finish what is under way.

        A client that wants to know is told when the service is `leaving`, so that it closes its side in time. A stream that
        cannot be written to is ended: its client would wait for ever for what was lost.
        """
        reading = asyncio.create_task(self._read(requests))
        writing = asyncio.create_task(self._write_all())
        stopping = asyncio.create_task(draining.wait())
        telling = asyncio.create_task(self._tell(leaving))
        try:
            await self._until_closed(reading, stopping)
            await self._read_last(reading)
            reading.cancel()
            while self._slots and not self._ended.done():
                await self._release()
        finally:
            if not self._ended.done():
                self._ended.set_result(None)
            for task in (reading, writing, stopping, telling, *self._tasks):
                task.cancel()
        error = self._ended.result()
        if error is not None:
            await abort(self._rpc, error)

    async def _until_closed(self, reading: asyncio.Task[None], stopping: asyncio.Task[Any]) -> None:
        """Until the client has closed its side, the service stops, or nothing has happened for too long."""
        while True:
            waited: set[asyncio.Future[Any]] = {reading, stopping, self._ended}
            await asyncio.wait(waited, timeout=IDLE_SECONDS / 4, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            if reading.done() or stopping.done() or self._ended.done():
                return
            if not self._slots and time.monotonic() - self._active > IDLE_SECONDS:
                return

    async def _tell(self, leaving: asyncio.Event) -> None:
        """Let the client close its side when the service leaves, or the connection soon may."""
        longest = self._answering.options.age.of_stream
        with suppress(TimeoutError):
            async with asyncio.timeout(None if longest == math.inf else longest):
                await leaving.wait()
        if self._is_told:
            self._slots += 1
            self._ready.append(_Slot("", ordered=False, held=0, message=streaming.leaving_message()))
            self._wake_writer()

    async def _read_last(self, reading: asyncio.Task[None]) -> None:
        """What is on its way when the service stops: until the client closes its side, or for a moment of silence."""
        until = time.monotonic() + LAST_READ_SECONDS
        while not reading.done() and not self._ended.done() and time.monotonic() < until:
            before = self._active
            await asyncio.wait((reading, self._ended), timeout=QUIET_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if self._active == before and not self._is_told:
                return

    async def _read(self, requests: Any) -> None:
        async for data in requests:
            await self._begin(data, time.monotonic_ns())

    async def _begin(self, data: bytes, received: int) -> None:
        request: InferRequest | InferenceError
        try:
            request = await _decoded(data)
        except InferenceError as error:
            request, identity = error, protobuf_codec.id_of(data)
        else:
            identity = request.id
            cancelled = streaming.cancelled_by(request)
            if cancelled is not None:
                if cancelled in self._calls:
                    self._calls[cancelled].cancel()
                return
        slot = _Slot(identity, not (self._any_order and identity), max(len(data), self._largest_reply))
        while self._slots and (self._slots >= MOST_AT_ONCE or self._held + slot.held > self._most_bytes):
            await self._release()
        self._enter(slot)
        task = begin(self._loop, self._call(slot, StreamedInfer(request, received), data))
        if task is not None:
            self._tasks.add(task)
            self._calls[identity] = task
            task.add_done_callback(self._tasks.discard)

    async def _release(self) -> None:
        """Until an answer has left."""
        self._released.clear()
        await self._released.wait()

    def _enter(self, slot: _Slot) -> None:
        """Take room on the stream."""
        self._slots += 1
        self._active = time.monotonic()
        self._held += slot.held
        if slot.ordered:
            self._order.append(slot)

    async def _call(self, slot: _Slot, operation: StreamedInfer, data: bytes) -> None:
        """Answer one request; without a task where its model is known to be quick."""
        try:
            slot.message = await self._answering.answer(operation, data, self._rpc)
        except InferenceError as error:
            if self._errors_end_it:
                slot.error = error
            else:
                slot.message = streaming.error_message(slot.identity, error)
        except asyncio.CancelledError:
            if self._ended.done():
                raise
        if slot.identity in self._calls and self._calls[slot.identity] is asyncio.current_task():
            del self._calls[slot.identity]
        self._answered(slot)

    def _answered(self, slot: _Slot) -> None:
        """Everything that may leave now joins the ready ones."""
        slot.answered = True
        self._largest_reply = max(self._largest_reply, len(slot.message))
        self._held += len(slot.message) - slot.held
        slot.held = len(slot.message)
        if not slot.ordered:
            self._ready.append(slot)
        while self._order and self._order[0].answered:
            self._ready.append(self._order.popleft())
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _write_all(self) -> None:
        """Write what is ready, one after the other."""
        while not self._ended.done():
            if self._ready:
                await self._write(self._ready.popleft())
            else:
                self._idle = self._loop.create_future()
                await self._idle
                self._idle = None

    async def _write(self, slot: _Slot) -> None:
        if slot.error is not None:
            self._ended.set_result(slot.error)
        elif slot.message:
            try:
                await self._rpc.write(slot.message)
            except Exception as error:  # noqa: BLE001 - gRPC raises several kinds for a client that has gone away
                log.debug("a stream's client went away before its answer: %s", error)
                if not self._ended.done():
                    self._ended.set_result(None)
        self._slots -= 1
        self._held -= slot.held
        self._active = time.monotonic()
        self._released.set()


async def _decoded(data: bytes) -> InferRequest:
    """The request; much of typed contents is read in a thread, while the stream's other calls go on."""
    if is_heavy(protobuf_codec.typed_bytes(data)):
        return await asyncio.to_thread(protobuf_codec.decode_request, data)
    return protobuf_codec.decode_request(data)
