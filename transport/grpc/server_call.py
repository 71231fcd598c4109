"""One call as it comes, and what its handler sees of it: the part of grpc.aio's ServicerContext that handlers here use."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from crossover.protocol import deadline
from crossover.protocol.errors import PortableError
from crossover.transport.grpc.messages import BadMessageError, Compressed, MessageReader, decoded, whole_message
from crossover.transport.grpc.metadata import Metadata, deadline_of

if TYPE_CHECKING:
    from crossover.transport.deadline_queue import Deadline
    from crossover.transport.grpc.messages import Message
    from crossover.transport.grpc.server import ServerConnection
    from crossover.transport.http2.connection import Stream
    from crossover.transport.http2.frames import Buffer
    from crossover.transport.http2.header_blocks import Fields

WINDOW = 1 << 20
"""Bytes of a stream that may be under way to a handler which does not take them."""


class AbortedError(PortableError):
    """The handler has ended its call with a status of its own."""

    def __init__(self, code: int, details: str, trailing: Metadata = ()) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailing = trailing


class ServerCall:
    """One call; `handler` is what gRPC's registry gave for its method."""

    __slots__ = (
        "_connection", "_limit", "_reader", "answered", "closed", "deadline", "fields", "flushed", "handler", "queue",
        "queued", "room", "stream", "task", "trailing", "until", "waiter",
    )  # fmt: skip

    def __init__(
        self, stream: Stream, fields: Fields, handler: Any, connection: ServerConnection, limit: int, longest: float
    ) -> None:
        """BadTimeoutError where `grpc-timeout` is none; `longest` is the deadline of a call that asks for less or nothing."""
        self.until = min(deadline_of(fields.get(b"grpc-timeout")), longest)
        self.stream = stream
        self.fields = fields
        self.handler = handler
        self._limit = limit
        self._reader: MessageReader | None = None
        """Where a message did not come as one whole piece of DATA."""
        self.deadline: Deadline | None = None
        self.task: asyncio.Task[None] | None = None
        self.trailing: Metadata = ()
        self.answered = False
        """The reply's first header fields have gone."""
        self.closed = False
        """The client has ended its side."""
        self.queue: deque[Message] = deque()
        self.queued = 0
        """Bytes in the queue."""
        self.room = WINDOW
        """Bytes that the client may still send; the stream's own window is ahead of what has been handled."""
        self.waiter: asyncio.Future[None] | None = None
        """Whoever waits for the next message, ..."""
        self.flushed: asyncio.Future[None] | None = None
        """... and whoever waits until what was written has gone."""
        self._connection = connection

    # what comes

    def add(self, piece: Buffer) -> None:
        """A piece of data; BadMessageError as the reader says."""
        self.room -= len(piece)
        message = whole_message(piece, self._limit) if self._reader is None else None
        messages = self._reading.feed(piece) if message is None else [message]
        self.queue.extend(messages)
        self.queued += sum(map(len, messages))
        if self.waiter is not None and self.queue:
            _wake(self.waiter)

    @property
    def _reading(self) -> MessageReader:
        reader = self._reader
        if reader is None:
            encoding = self.fields.get(b"grpc-encoding", b"identity").decode("latin-1")
            reader = self._reader = MessageReader(self._limit, encoding)
        return reader

    @property
    def is_cut(self) -> bool:
        """Whether a message is under way of which a part has come."""
        return self._reader is not None and self._reader.held > 0

    def close(self) -> None:
        """Nothing more comes."""
        self.closed = True
        if self.waiter is not None:
            _wake(self.waiter)

    @property
    def wanted(self) -> int:
        """Bytes by which the client's window should grow now; small amounts are left until they are worth a frame."""
        missing, room = self._reader.missing if self._reader is not None else 0, self.room
        if self.handler.request_streaming:
            lacking = max(WINDOW - self.queued, missing) - room
            return lacking if lacking >= WINDOW // 2 or missing > room else 0
        return max(0, missing - room)

    def taken(self) -> Message:
        """The next message of the queue."""
        message = self.queue.popleft()
        self.queued -= len(message)
        return message

    def __aiter__(self) -> ServerCall:
        return self

    async def __anext__(self) -> Any:
        """The requests of a stream, in order."""
        while not self.queue:
            if self.closed:
                raise StopAsyncIteration
            self.waiter = asyncio.get_running_loop().create_future()
            await self.waiter
            self.waiter = None
        message = self.taken()
        self._connection.grant(self)
        return self.request(await message.read() if type(message) is Compressed else message)

    def request(self, message: Buffer) -> Any:
        """What the handler takes for a message."""
        parse = self.handler.request_deserializer
        if parse is None:
            return message
        try:
            return decoded(parse, message)
        except BadMessageError as bad:
            raise AbortedError(bad.code, bad.text) from None

    def reply(self, answer: Any) -> bytes:
        """The message that stands for a handler's answer."""
        serialize = self.handler.response_serializer
        data: bytes = answer if serialize is None else serialize(answer)
        return data

    # what a handler asks and says

    def time_remaining(self) -> float | None:
        """Seconds until the call's deadline; None without one."""
        return None if self.until == deadline.NEVER else max(0.0, self.until - time.monotonic())

    def invocation_metadata(self) -> Metadata:
        return self._connection.metadata_of(self.fields)

    def peer(self) -> str:
        """The client's address, as gRPC writes it."""
        return self._connection.peer

    def set_trailing_metadata(self, metadata: Metadata) -> None:
        self.trailing = metadata

    async def abort(self, code: Any, details: str = "", trailing_metadata: Metadata = ()) -> None:
        """End the call; `code` is a grpc.StatusCode. Never returns."""
        raise AbortedError(code.value[0], details, trailing_metadata)

    async def write(self, answer: Any) -> None:
        """Send one message of a stream, and wait while the client takes no more."""
        await self._connection.write_message(self, self.reply(answer))


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
