"""One request on a connection, and its reply: what a handler sees of both.

A handler may take the body whole (`read`) or in pieces (`receive`), and reply whole (`reply`) or in pieces (`begin_reply`,
`write`, `end`). Nothing that it does after its client has gone has an effect.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crossover.protocol.propagation import REQUEST_ID, new_request_id, request_id_of
from crossover.transport.http1.chunks import ChunkedBody
from crossover.transport.http1.limits import STREAMED_BYTES, UNREAD_BODY_BYTES
from crossover.transport.http1.messages import CHUNKED, BodyTooLargeError, ClientGoneError, NoMemoryError, RefusalError
from crossover.transport.http1.receive_buffer import SMALLEST, LargeBody
from crossover.transport.http1.reply_head import CONTINUE
from crossover.transport.memory_budget import Reservation

if TYPE_CHECKING:
    from crossover.transport.http1.messages import Buffer, Fields, Reply, RequestHead
    from crossover.transport.http1.server import Connection

LARGEST_IN_PLACE = 64 << 20
"""Bytes of a body that is received into memory of its size: no more is set aside because somebody said so."""
UNCOUNTED_BYTES = 4 << 10
"""A body that came whole with its head and is no larger is not counted: MAX_CONNECTIONS bounds what all of them take."""
BOUNDARY = "inference-header-content-length"
"""The header that says where a body's binary tensors begin (OIP's binary tensor data extension)."""


class Exchange:
    """A request whose head has come."""

    __slots__ = (
        "_chunked", "_connection", "_continue_due", "_failure", "_large", "_left", "_parts", "_request_id", "_reservation",
        "_size", "_status", "_waiter", "_whole_limit", "_write_left", "abandoned", "added", "answered", "body", "gone", "head",
        "keeps", "reading", "started", "task", "unwanted",
    )  # fmt: skip

    def __init__(self, connection: Connection, head: RequestHead) -> None:
        self._connection = connection
        self.head = head
        self.added: Fields = []
        """Fields that go with whatever reply follows."""
        self.body: Buffer | None = None
        """The whole body, once it has come."""
        self.task: asyncio.Task[None] | None = None
        """What waits for the answer."""
        self.gone = False
        """The client has closed the connection; `task` is cancelled then."""
        self.started = self.answered = False
        """The reply's head is out; all of it is."""
        self.abandoned = False
        """The connection has ended it; what its handler still sends is dropped."""
        self.keeps = True
        """Whether the connection stays after a reply that comes in pieces."""
        self.reading = False
        """Whether a handler has asked for the body."""
        self.unwanted = False
        """The body is dropped as it comes."""
        self._continue_due = head.expects_continue
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._chunked: ChunkedBody | None = None
        self._large: LargeBody | None = None
        self._parts = bytearray()
        self._size = 0
        self._left = head.length
        self._whole_limit: int | None = None
        self._reservation: Reservation | None = None
        self._write_left: int | None = None
        self._status = 0
        self._request_id = ""

    # What the request says of its connection.

    @property
    def peer(self) -> tuple[str, int] | None:
        """Address of the client; None on a Unix socket."""
        return self._connection.peer

    @property
    def scheme(self) -> str:
        """`http`, or `https` behind TLS."""
        return self._connection.scheme

    @property
    def local(self) -> tuple[str, int | None] | None:
        """Address at which the request came in."""
        return self._connection.local

    @property
    def request_id(self) -> str:
        """The caller's, in the form that every wire carries; a new one where it sent none that can be used."""
        if not self._request_id:
            said = self.head.by_name.get(REQUEST_ID)
            self._request_id = new_request_id() if said is None else request_id_of(said)
        return self._request_id

    # The body, as its handler takes it.

    async def read(self, limit: int) -> Buffer:
        """The whole body.

        BodyTooLargeError beyond `limit` bytes, told by Content-Length before any is read; NoMemoryError when the bodies in flight hold
        all that they may; ClientGoneError; RefusalError for what is not the body that the head promises.
        """
        if self.head.length > limit:
            raise BodyTooLargeError
        self.ask()
        self._whole_limit = limit
        if self.body is None:  # else what would be read is behind this request
            self._connection.resume_reading()
        elif len(self.body) > UNCOUNTED_BYTES and not self.hold(0):
            raise NoMemoryError
        while self.body is None and self._size + self._announced <= limit:
            await self._more()
        if self.body is None or len(self.body) > limit:
            self._failure = BodyTooLargeError()
            raise self._failure
        return self.body

    async def receive(self) -> tuple[Buffer, bool]:
        """The next piece of the body, and whether more follow; a body that is received in place is one piece."""
        self.ask()
        while self.body is None and (not self._parts or self._large is not None):
            self._connection.resume_reading()
            await self._more()
        if self.body is not None:
            return self.body, False
        piece, self._parts = bytes(self._parts), bytearray()
        if self._reservation is not None:
            self._reservation.shrink(len(piece))
        self._connection.resume_reading()
        return piece, True

    async def until_gone(self) -> None:
        """Wait until the client has gone or the reply is complete."""
        while not (self.gone or self.answered):
            await self._wait()

    async def _more(self) -> None:
        """Wait for more of the body."""
        if self._failure is None and not self.gone:
            await self._wait()
        if self._failure is not None:
            raise self._failure
        if self.gone:
            raise ClientGoneError

    async def _wait(self) -> None:
        if self._waiter is None:
            self._waiter = self._connection.loop.create_future()
        await asyncio.shield(self._waiter)

    def ask(self) -> None:
        """The handler wants the body: a client that waits for `100 Continue` gets it."""
        self.reading = True
        if self._continue_due:
            self._continue_due = False
            if not (self.started or self.gone):
                self._connection.transport.write(CONTINUE)

    @property
    def _announced(self) -> int:
        """Bytes that a chunked body says are still to come."""
        return 0 if self._chunked is None else self._chunked.announced

    # The body, as the connection brings it.

    def begin_body(self) -> None:
        """The body is not whole, and its handler has not refused it."""
        size = self.head.length
        if size == CHUNKED:
            self._chunked = ChunkedBody()
        elif SMALLEST <= size <= LARGEST_IN_PLACE:
            boundary = self.head.by_name.get(BOUNDARY, "0")
            self._large = LargeBody(size, b"", int(boundary[:12]) if boundary[:12].isdecimal() else 0)
        self._reservation = Reservation(self._connection.budget)

    @property
    def in_place(self) -> LargeBody | None:
        """Where the connection is to receive to; None where bytes go through its own buffer."""
        return self._large if self.body is None and not self.unwanted else None

    def received_in_place(self, size: int) -> None:
        large = self._large
        assert large is not None
        large.filled += size
        if self._hold(size) and large.is_whole:
            self._finish_body(large.memory.toreadonly())

    def take(self, raw: bytearray, at: int, stop: int, most_chunks: int) -> tuple[int, int]:
        """Take what belongs to the body from `raw`: where it ends, and how many lines of a chunked one were read."""
        if self._failure is not None:
            return stop, 0  # where it ends is not known any more, and the connection ends with this reply
        if self._chunked is not None:
            return self._take_chunks(self._chunked, raw, at, stop, most_chunks)
        if self._large is not None:
            rest = self._large.rest
            taken = min(len(rest), stop - at)
            rest[:taken] = memoryview(raw)[at : at + taken]
            self.received_in_place(taken)
            return at + taken, 0
        taken = min(self._left, stop - at)
        self._left -= taken
        self._parts += memoryview(raw)[at : at + taken]
        self._received(taken, self._left == 0)
        return at + taken, 0

    def _take_chunks(
        self, chunked: ChunkedBody, raw: bytearray, at: int, stop: int, most_chunks: int
    ) -> tuple[int, int]:
        before = len(self._parts)
        try:
            at, lines = chunked.read(raw, at, stop, self._parts, most_chunks)
            if chunked.announced > self._connection.budget.limit:
                raise RefusalError(413, f"a chunk has {chunked.announced} bytes, more than MAX_IN_FLIGHT_BYTES allows")
        except RefusalError as refusal:
            self.fail(refusal)
            raise
        self._received(len(self._parts) - before, chunked.is_whole)
        return at, lines

    def _received(self, size: int, whole: bool) -> None:
        if self.unwanted:
            self._parts.clear()
            if whole:
                self.body = b""
            return
        self._size += size
        if size and not self._hold(size):
            return
        if whole:
            parts, self._parts = self._parts, bytearray()
            self._finish_body(bytes(parts) if len(parts) < SMALLEST else memoryview(parts).toreadonly())
            return
        self._wake()
        if self.is_ahead:
            self._connection.pause_reading()

    @property
    def is_ahead(self) -> bool:
        """More has come than a handler that takes the body in pieces has taken."""
        return self._whole_limit is None and not self.unwanted and len(self._parts) >= STREAMED_BYTES

    def hold(self, size: int) -> bool:
        """Count memory that the request takes beside its body; False where there is none left."""
        if self._reservation is None:  # the body was whole when the head was, and has not been counted
            self._reservation = Reservation(self._connection.budget)
            size += len(self.body or b"")
        return self._reservation.grow(size)

    def _hold(self, size: int) -> bool:
        """Count bytes against the memory of all requests; False, and the request has failed, where there is none left."""
        if self._reservation is None or self._reservation.grow(size):
            return True
        self.fail(NoMemoryError())
        return False

    def _finish_body(self, body: Buffer) -> None:
        self.body = body
        self._large = None
        self._wake()

    def fail(self, failure: Exception) -> None:
        """The body will not become whole: whoever waits for it is told."""
        self._failure = failure
        self.drop_body()
        self._wake()

    def drop_body(self) -> None:
        """Nobody wants the body any more."""
        self.unwanted = True
        self._parts.clear()
        if self._large is not None:
            # The memory goes; how much is still to come stays known.
            self._left = len(self._large.memory) - self._large.filled
            self._large = None

    @property
    def body_is_whole(self) -> bool:
        return self.body is not None

    @property
    def keeps_connection(self) -> bool:
        """Whether another request can follow: decided by what the head declares and what the handler asked for, not by what
        has come so far.
        """
        if not self.head.keep_alive or self._failure is not None:
            return False
        if self.head.length == 0 or (self.reading and self.body is not None):
            return True
        return 0 < self.head.length <= UNREAD_BODY_BYTES and not self.head.expects_continue

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None

    def lose(self) -> None:
        """The client has gone: nobody waits for the answer."""
        self.gone = True
        self._wake()
        if self.task is not None and not self.answered and self.head.route is not None:
            self.task.cancel()

    def close(self) -> None:
        """The exchange is over."""
        if self._waiter is not None:
            self._wake()
        if self._reservation is not None:
            self._reservation.close()

    # The reply.

    def give_up(self, reply: Reply) -> None:
        """The handler cannot answer: send `reply` if nothing is out yet, else end the connection."""
        self.abandoned = True
        if self.gone or self.answered:
            return
        if self.started:
            self._connection.abandon()
        else:
            self._failure = self._failure or ClientGoneError()  # whatever of the body is missing is not waited for
            self.reply(reply)

    def refuse(self, refusal: RefusalError) -> None:
        """Give up, with what the connection itself says in such a case."""
        self.give_up(self._connection.refusal_reply(self.head.path, refusal, self.request_id))

    def reply(self, reply: Reply) -> None:
        """Send a whole reply."""
        if not (self.gone or self.started):
            self.started = True
            self._connection.send_reply(self, reply)

    def begin_reply(self, status: int, fields: Fields, length: int | None) -> bytes:
        """The head of a reply that comes in pieces, to be written with the first of them; `length` None: unknown."""
        self._status, self._write_left, self.started = status, length, True
        return self._connection.reply_head(self, status, fields, length)

    @property
    def bodiless(self) -> bool:
        """RFC 9112 6.3: replies to HEAD, 204 and 304 have no body."""
        return self.head.method == "HEAD" or self._status in (204, 304)

    def write(self, head: bytes, piece: Buffer, more: bool) -> None:
        """Send the next piece, behind `head` if that is not out yet.

        RuntimeError when the reply gets longer, or ends shorter, than its length: the connection is closed then, so that
        the client sees that something is missing.
        """
        if self.gone or self.answered:
            return
        if self._write_left is not None and not self.bodiless:
            self._write_left -= len(piece)
            if self._write_left < 0 or (self._write_left and not more):
                self._connection.abandon()
                how = "longer" if self._write_left < 0 else "shorter"
                raise RuntimeError(f"the reply's body is {how} than its content-length")
        self._connection.send_piece(self, head, piece, more, self._write_left is None)

    async def drain(self) -> None:
        """Wait until what was sent before has been taken by the client's side."""
        await self._connection.drain()
