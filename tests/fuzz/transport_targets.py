"""HTTP/1.1 heads and chunks from either side, HTTP/2 from either side, header blocks, gRPC's messages and metadata."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace
from typing import Any

from hpack import Decoder, HPACKError

from crossover.protocol.errors import InferenceError
from crossover.transport.grpc import messages as grpc_messages
from crossover.transport.grpc import metadata as grpc_metadata
from crossover.transport.http1 import chunks, client_connection, head
from crossover.transport.http1.limits import MAX_FIELDS, MAX_HEAD_BYTES
from crossover.transport.http1.messages import RefusalError
from crossover.transport.http2 import connection as http2_connection
from crossover.transport.http2 import frames, header_blocks
from crossover.transport.http2.connection import Connection
from crossover.transport.http2.events import (
    ConnectionFailed,
    DataReceived,
    HeadersReceived,
    StreamReset,
    TrailersReceived,
)
from crossover.transport.http2.frames import PREFACE, ConnectionFaultError
from tests.fuzz.target import Target, demand

STATUSES = frozenset({400, 408, 413, 414, 417, 431, 501, 505})
SPLIT_UP_TO = 1024
"""Longer inputs are not cut into single bytes: that is quadratic in the test, not in the parser."""


def _head(raw: bytearray, step: int) -> tuple[str, Any]:
    """A request's head that comes `step` bytes at a time: ("refused", status), ("open", None) or ("taken", head)."""
    searched = stop = 0
    try:
        while stop < len(raw):
            stop = min(len(raw), stop + step)
            end = head.find_end(raw, 0, stop, searched)
            if end >= 0:
                return "taken", (end, replace(head.parse(bytes(raw[:end])), repeats=False))
            searched = stop
    except RefusalError as refusal:
        return "refused", refusal.status
    return "open", None


def http1_head(data: bytes) -> None:
    """A head is read or refused; how it is cut into packets changes nothing; what is read keeps HTTP's own rules."""
    raw = bytearray(data)
    kind, found = _head(raw, max(1, len(raw)))
    head.path_in(raw)
    if len(raw) <= SPLIT_UP_TO:
        other, again = _head(raw, 1 if len(raw) < 512 else 61)
        demand((kind, found) == (other, again) or ("refused" in (kind, other) and _same_refusal(kind, other, found, again)),
               "how a head is cut into packets does not change what it is")  # fmt: skip
    if kind == "refused":
        demand(found in STATUSES, f"a head is refused with a status for it, not {found}")
    if kind != "taken":
        return
    end, request = found
    demand(raw[:end].endswith((b"\n\r\n", b"\n\n")), "a head ends with an empty line")
    demand(end <= MAX_HEAD_BYTES and len(request.fields) <= MAX_FIELDS, "bounds of a head hold")
    for name, value in request.fields:
        demand(not set(value) & {0, 10, 13} and name == name.lower() and bool(name), "no field has a line end within")
    names = request.by_name
    demand(not ("transfer-encoding" in names and "content-length" in names), "one framing (RFC 9112 6.3)")
    demand(request.version == "1.0" or "host" in names, "HTTP/1.1 has a Host (RFC 9112 3.2)")
    demand(sum(name == b"host" for name, _ in request.fields) < 2, "there is one Host")
    demand(sum(name == b"content-length" for name, _ in request.fields) < 2, "there is one Content-Length")
    demand(request.path.startswith(b"/") or request.path == b"*", "the path is one")


def _same_refusal(kind: str, other: str, found: Any, again: Any) -> bool:
    """A head that came in pieces may be refused for its first fault, one that came whole for another."""
    return kind == other == "refused" and {found, again} <= STATUSES


def http1_chunks(data: bytes) -> None:
    """A chunked body gives the same bytes however it is cut, or is refused."""
    whole = _chunked(data, max(1, len(data)))
    if len(data) <= SPLIT_UP_TO:
        demand(_alike(whole, _chunked(data, 1)), "how a chunked body is cut does not change its bytes")
        demand(_alike(whole, _chunked(data, 7)), "how a chunked body is cut does not change its bytes")


def _alike(left: tuple[str, Any], right: tuple[str, Any]) -> bool:
    return left == right


def _chunked(data: bytes, step: int) -> tuple[str, Any]:
    reader, body, raw, at = chunks.ChunkedBody(), bytearray(), bytearray(), 0
    used = 0
    try:
        for at in range(0, len(data), step):
            raw += data[at : at + step]
            while not reader.is_whole:
                taken, lines = reader.read(raw, 0, len(raw), body, 64)
                del raw[:taken]
                used += taken
                if (not lines and not taken) or not raw:
                    break
            if reader.is_whole:
                return "whole", (bytes(body), used)
    except RefusalError as refusal:
        return "refused", refusal.status
    return "open", bytes(body)


class _Transport:
    """What a client's connection asks of a transport."""

    def __init__(self) -> None:
        self.closed = False

    def get_extra_info(self, _name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, _data: bytes) -> None: ...

    def writelines(self, _parts: Any) -> None: ...

    def abort(self) -> None:
        self.closed = True


_LOOP = asyncio.new_event_loop()


def http1_reply(data: bytes) -> None:
    """A reply is the same however it is cut, an error of ours, or not whole; it is never more than its limit."""
    whole = _LOOP.run_until_complete(_reply(data, max(1, len(data))))
    if len(data) <= SPLIT_UP_TO:
        pieces = _LOOP.run_until_complete(_reply(data, 1))
        demand(whole[0] == pieces[0] and (whole[0] != "reply" or whole == pieces), "how a reply is cut changes nothing")


_REPLY_LIMIT = 1 << 20


async def _reply(data: bytes, step: int) -> tuple[str, Any]:
    buffer = memoryview(bytearray(1 << 16))
    given = client_connection.ReplyLimits(_REPLY_LIMIT)
    connection = client_connection.ClientConnection("http://peer", given, buffer, lambda _: None)
    transport = _Transport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    call = asyncio.ensure_future(connection.exchange(b"GET / HTTP/1.1\r\n\r\n", (), 0, float("inf")))
    await asyncio.sleep(0)
    at = 0
    while at < len(data) and not transport.closed and not call.done() and connection._waiter is not None:
        if connection._waiter.done():
            break
        into = connection.get_buffer(-1)
        piece = data[at : at + min(step, len(into))]
        into[: len(piece)] = piece
        connection.buffer_updated(len(piece))
        at += len(piece)
    connection.connection_lost(None)
    try:
        async with asyncio.timeout(1):
            reply = await call
    except InferenceError as error:
        return "error", error.code
    finally:
        if connection._timer is not None:
            connection._timer.cancel()
    demand(len(reply.body) <= _REPLY_LIMIT, "a reply is not larger than its limit")
    return "reply", (reply.status, sorted(reply.headers.items()), bytes(reply.body))


def http2_server(data: bytes) -> None:
    """Whatever a client sends after its preface becomes the same events and the same output however it is cut."""
    _http2(data, client=False)
    for first in (data, PREFACE[:-1] + data):  # what may be no preface at all
        connection = Connection(client=False, window=1 << 20)
        connection.receive(first)


def http2_client(data: bytes) -> None:
    """The same for what a server sends."""
    _http2(data, client=True)


def _http2(data: bytes, client: bool) -> None:
    _events(data, max(1, len(data)), client, answers=True)
    if len(data) <= SPLIT_UP_TO:
        whole = _events(data, max(1, len(data)), client)
        pieces = _events(data, 3, client)
        demand(whole[0] == pieces[0], "how HTTP/2 is cut into packets does not change what is heard")
        demand(_frames(whole[1]) == _frames(pieces[1]), "how HTTP/2 is cut into packets does not change what is said")


def _frames(said: bytes) -> list[bytes]:
    """The frames that were sent, without WINDOW_UPDATE: padding is given back as it comes, even before a fault."""
    found, at = [], len(PREFACE) if said.startswith(PREFACE) else 0
    while at < len(said):
        end = at + 9 + int.from_bytes(said[at : at + 3], "big")
        if said[at + 3] != frames.WINDOW_UPDATE:
            found.append(said[at:end])
        at = end
    return found


def _events(data: bytes, step: int, client: bool, answers: bool = False) -> tuple[list[Any], bytes]:
    connection = Connection(client=client, window=1 << 20, clock=lambda: 0.0)
    heard: list[Any] = []
    begun = PREFACE if not client else b""
    if client:
        for number in range(2):
            stream = connection.open(number)
            connection.send_headers(stream, ((":method", "POST"), (":scheme", "http"), (":path", "/x")), (), ends=False)
            connection.send_data(stream, b"abc", ends=bool(number))
    said = bytearray(connection.take_output())
    _take(connection, begun, heard, said, answers)
    for at in range(0, len(data), step):
        _take(connection, data[at : at + step], heard, said, answers)
    demand(len(connection.streams) <= connection.limits.streams, "no more streams than were allowed")
    if connection.failed:
        demand(not connection.streams and not connection.unsent_bytes, "a failed connection holds nothing")
    return _joined(heard), bytes(said)


def _take(connection: Connection, data: bytes, heard: list[Any], said: bytearray, answers: bool) -> None:
    events = connection.receive(data)
    while True:
        for event in events if answers else ():
            _answer(connection, event)
        heard += events
        said += connection.take_output()
        if not connection.is_behind:
            return
        events = connection.receive(b"")


def _answer(connection: Connection, event: Any) -> None:
    """A server that answers what ends, as a service would."""
    if isinstance(event, HeadersReceived | DataReceived) and event.ends and not connection._client:
        connection.send_headers(event.stream, ((":status", "200"),))
        connection.send_data(event.stream, b"answer")
        connection.send_headers(event.stream, (("grpc-status", "0"),), ends=True)


def _joined(heard: list[Any]) -> list[Any]:
    """Events with DATA put together for each stream, as pieces come as packets do."""
    found: list[Any] = []
    content: dict[int, bytearray] = {}
    for event in heard:
        kind = type(event).__name__
        if isinstance(event, HeadersReceived):
            found.append((kind, event.stream.number, dict(event.fields) if not event.fields.is_too_large else None))
            content.setdefault(event.stream.number, bytearray()).extend(event.data or b"")
            if event.trailers is not None:
                found.append(("TrailersReceived", event.stream.number, dict(event.trailers)))
        elif isinstance(event, DataReceived):
            content.setdefault(event.stream.number, bytearray()).extend(event.data)
        elif isinstance(event, TrailersReceived):
            found.append((kind, event.stream.number, dict(event.fields)))
        elif isinstance(event, StreamReset):
            found.append((kind, event.stream.number, event.code))
        elif isinstance(event, ConnectionFailed):
            found.append((kind, event.code, event.text))
        else:
            found.append((kind,))
    reset = {one[1] for one in found if one[0] == "StreamReset"}  # pieces may come before the one that breaks a rule
    return [*found, sorted((number, bytes(data)) for number, data in content.items() if number not in reset)]


def header_block(data: bytes) -> None:
    """Blocks of one connection are what the hpack library reads, or a connection error; the table stays in step."""
    reader, library = header_blocks.HeaderReader(), Decoder(max_header_list_size=1 << 30)
    library.max_allowed_table_size = header_blocks.TABLE_BYTES
    for block in _blocks(data):
        try:
            found = reader.fields(block)
        except ConnectionFaultError:
            return
        demand(
            reader.fields(block).items() == found.items() or not _repeats(block), "a block that is kept means the same"
        )
        if len(data) > SPLIT_UP_TO or found.is_too_large:
            return
        if _repeats(block):
            try:
                expected = library.decode(block, raw=True)
            except (HPACKError, UnicodeDecodeError, IndexError):
                return  # it is stricter in places
            joined: dict[bytes, bytes] = {}
            for name, value in expected:
                joined[name] = joined[name] + b"," + value if name in joined else value
            demand(dict(found) == joined, "a header block is read as the hpack library reads it")
        else:
            return


def _repeats(block: bytes) -> bool:
    """Whether a block leaves the table as it is."""
    try:
        return header_blocks._leaves_table(block)
    except (IndexError, ConnectionFaultError):
        return False


def _blocks(data: bytes) -> list[bytes]:
    """The input as blocks: a byte of length before each."""
    found, at = [], 0
    while at < len(data):
        size = data[at] if len(data) <= SPLIT_UP_TO else len(data)
        found.append(data[at + 1 : at + 1 + size])
        at += 1 + size
    return found


_LIMIT = 1 << 20


def grpc_message(data: bytes) -> None:
    """A stream's DATA becomes the same messages however it is cut, or an error with gRPC's status."""
    for encoding in ("identity", "gzip", "unknown") if len(data) <= SPLIT_UP_TO else ("identity",):
        whole = _grpc_messages(data, max(1, len(data)), encoding)
        if len(data) <= SPLIT_UP_TO:
            demand(whole == _grpc_messages(data, 1, encoding), "how messages are cut into frames changes nothing")


def _grpc_messages(data: bytes, step: int, encoding: str) -> tuple[list[bytes], Any]:
    reader, found = grpc_messages.MessageReader(_LIMIT, encoding), []
    try:
        for at in range(0, len(data), step):
            for taken in reader.feed(data[at : at + step]):
                message = taken
                if isinstance(taken, grpc_messages.Compressed):
                    message = grpc_messages.decompressed(taken.data, taken.encoding, taken.limit)
                demand(len(message) <= _LIMIT, "no message is larger than the limit")
                found.append(bytes(message))
    except grpc_messages.BadMessageError as error:
        # of two faults the prefix's is told first where both came at once: a message is decompressed when it is taken
        return found[:0], error.code if encoding == "identity" else None
    return found, reader.missing


def grpc_fields(data: bytes) -> None:
    """Metadata and timeouts of any bytes are values, or errors of their own."""
    fields = {}
    for line in data.split(b"\n"):
        name, _, value = line.partition(b":")
        fields[name.lower()] = value
        try:
            demand(grpc_metadata.deadline_of(value) > 0, "a deadline is a moment")
        except grpc_metadata.BadTimeoutError:
            pass
    found = grpc_metadata.metadata_in(fields)
    grpc_metadata.text_of(fields)
    for key, value in found:
        demand(isinstance(value, bytes) == key.endswith("-bin"), "keys that end in -bin have bytes")
    grpc_metadata.metadata_out(found)


_HTTP_TOKENS = (
    b"GET ", b"POST ", b"OPTIONS * ", b"CONNECT ", b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b"\r\n", b"\n", b"\r", b"\r\n\r\n",
    b"Host: x", b"Host: [::1]:8080", b"Host:", b"Content-Length: 5", b"Content-Length: 5, 5", b"Content-Length: +5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Connection: close", b"Connection: keep-alive, Upgrade",
    b"Expect: 100-continue", b"Expect: x", b"Upgrade: h2c", b"http://x/", b"http://u@x:99999/a?b#c", b"/v2/models/a/infer?x=1#f",
    b"%2e%2e", b"\t", b" ", b"\0", b"\xff", b":", b"; a=b", b"X-A: 1\r\n", b"x" * 100,
)  # fmt: skip
_HEADS = (
    b"GET /v2/health/live HTTP/1.1\r\nHost: localhost:8000\r\n\r\n",
    b"POST /v2/models/m/infer HTTP/1.1\r\nHost: [::1]:8000\r\nContent-Length: 5\r\nConnection: close\r\n\r\n",
    b"POST /a?b=c#d HTTP/1.1\r\nhost: a.b\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\nX: \xe4\r\n\r\n",
    b"GET http://host:80/path?query HTTP/1.0\r\nConnection: Keep-Alive\r\nAccept: a\r\nAccept: b\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost:\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET /" + b"a" * 17000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 101 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 70000 + b"\r\n\r\n",
    b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
    b"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: [:::]\r\n\r\n",
    b"GET nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://u@:x/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
)
_CHUNKED = (
    b"5\r\nhello\r\n0\r\n\r\n", b"A;x=y\r\n0123456789\r\n1\r\na\r\n0\r\nX-Trailer: 1\r\n\r\n", b"ffffffffffffffff\r\n", b"0\r\n\r\n",
    b"1000000000\r\nabc", b"5\r\nhelloX\r\n", b"0\r\n" + b"X: 1\r\n" * 110 + b"\r\n", b"1;" + b"a" * 5000 + b"\r\na",
)  # fmt: skip
_REPLIES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: timeout=5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 413 Large\r\nConnection: close\r\nContent-Length: 99999999\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70000,
    b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ncontent-length: 5\r\nx-request-id: abc\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 101 + b"Content-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70000,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n"
    + b"a" * (128 << 10)
    + (b"\r\n20000\r\n" + b"a" * (128 << 10)) * 12,
)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return frames.frame(kind, flags, stream, payload)


def _literals(*fields: tuple[str, str]) -> bytes:
    return b"".join(header_blocks.literal(name, value) for name, value in fields)


_REQUEST = _literals(
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.B/C"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
_RESPONSE = _literals((":status", "200"), ("content-type", "application/grpc"))
_TRAILERS = _literals(("grpc-status", "0"))
_SETTINGS = _frame(frames.SETTINGS, 0, 0, b"")
_WHOLE, _ENDS, _OPEN = frames.END_HEADERS | frames.END_STREAM, frames.END_STREAM, frames.END_HEADERS
_CLIENT_FRAMES = (
    _frame(frames.HEADERS, _OPEN, 1, _REQUEST) + _frame(frames.DATA, _ENDS, 1, bytes(5)),
    _frame(frames.HEADERS, _WHOLE, 3, _REQUEST) + _frame(frames.RST_STREAM, 0, 3, bytes(4)),
    _frame(frames.HEADERS, 0, 5, _REQUEST[:20]) + _frame(frames.CONTINUATION, _OPEN, 5, _REQUEST[20:]),
    _frame(frames.HEADERS, _OPEN | frames.PADDED | frames.WITH_PRIORITY, 7, b"\2" + bytes(5) + _REQUEST + bytes(2)),
    _frame(frames.DATA, frames.PADDED | _ENDS, 1, b"\3abcdefg\0\0\0"),
    _frame(frames.SETTINGS, 0, 0, frames.settings({frames.INITIAL_WINDOW_SIZE: 3, frames.MAX_FRAME_SIZE: 16384})),
    _frame(frames.SETTINGS, 0, 0, frames.settings({frames.HEADER_TABLE_SIZE: 0, frames.MAX_CONCURRENT_STREAMS: 1})),
    _frame(frames.SETTINGS, frames.ACK, 0, b""),
    _frame(frames.PING, 0, 0, bytes(8)), _frame(frames.PING, frames.ACK, 0, bytes(8)),
    _frame(frames.WINDOW_UPDATE, 0, 0, b"\0\0\0\1"), _frame(frames.WINDOW_UPDATE, 0, 1, b"\0\0\1\0"),
    _frame(frames.GOAWAY, 0, 0, bytes(8) + b"text"), _frame(frames.PRIORITY, 0, 9, bytes(5)), _frame(0xEE, 3, 1, b"what"),
    _frame(frames.PUSH_PROMISE, _OPEN, 1, bytes(4)),
    _frame(frames.SETTINGS, 0, 0, frames.settings({2: 2})),
    _frame(frames.SETTINGS, 0, 0, frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31})),
    _frame(frames.SETTINGS, 0, 0, frames.settings({frames.INITIAL_WINDOW_SIZE: 0})) + _frame(frames.HEADERS, _WHOLE, 1, _REQUEST)
    + _frame(frames.RST_STREAM, 0, 1, bytes(4)),
    _frame(frames.DATA, frames.PADDED, 1, b"\5ab"),
    _frame(frames.HEADERS, _OPEN, 11, _REQUEST + _literals(("content-length", "5"))) + _frame(frames.DATA, _ENDS, 11, b"abc"),
    _frame(frames.HEADERS, _OPEN, 13, _REQUEST + _literals(("content-length", "5"))) + _frame(frames.DATA, _ENDS, 13, bytes(6)),
    _frame(frames.HEADERS, _OPEN, 15, _REQUEST) + _frame(frames.DATA, 0, 15, bytes(16384)) * 66,
    _frame(frames.HEADERS, _WHOLE, 17, _literals((":method", "CONNECT"), (":authority", "a:1"))),
    _frame(frames.HEADERS, _WHOLE, 19, _REQUEST + _literals(("host", "a"))),
    _frame(frames.PING, 0, 0, bytes(8)) * 1100,
)  # fmt: skip
_SERVER_FRAMES = (
    _frame(frames.HEADERS, _OPEN, 1, _RESPONSE) + _frame(frames.DATA, 0, 1, bytes(5)) + _frame(frames.HEADERS, _WHOLE, 1, _TRAILERS),
    _frame(frames.HEADERS, _OPEN, 3, _literals((":status", "103"))) + _frame(frames.HEADERS, _WHOLE, 3, _RESPONSE),
    _frame(frames.HEADERS, _WHOLE, 3, _literals((":status", "200"), ("content-length", "0"))),
    _frame(frames.GOAWAY, 0, 0, bytes(7) + b"\1"), _frame(frames.RST_STREAM, 0, 1, b"\0\0\0\7"),
)  # fmt: skip


def _framed_blocks(*blocks: bytes) -> bytes:
    return b"".join(bytes([len(block)]) + block for block in blocks)


_HEADER_BLOCKS = (
    _framed_blocks(_REQUEST, _TRAILERS),
    _framed_blocks(b"\x82\x86\x84", b"\x82\x86\x84\0\1a\1b"),
    _framed_blocks(b"\x40\1a\1b", b"\xbe"),
    _framed_blocks(b"\x3f\xe1\x1f\x40\1a\1b", b"\x20\x40\1c\1d"),
    _framed_blocks(b"\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"),
    _framed_blocks(b"\x10\1a\1b"),
    _framed_blocks(b"\x82\x87\x85\0\x0cgrpc-timeout\x021S"),
    _framed_blocks(b"\x88\0\x0econtent-length\x015"),
    _framed_blocks(b"\x82\0\1a\1b\0\1a\1c"),
    _framed_blocks(_literals((":method", "CONNECT"), (":authority", "a:1"))),
    _framed_blocks(_literals((":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "a"), ("host", "b"))),
    b"\xff" + b"\x40\1a\x7f\x81\x7f" + b"b" * 0x4100 + b"\xbe" * 40,
)  # fmt: skip


def _too_large() -> bytes:
    """A gRPC message that is larger than its limit once it is decompressed."""
    data = gzip.compress(bytes(_LIMIT + 1), mtime=0)
    return b"\1" + len(data).to_bytes(4, "big") + data


TARGETS = [
    Target("http1-head", http1_head, (head,), _HTTP_TOKENS, _HEADS),
    Target("http1-chunks", http1_chunks, (chunks,), (b"\r\n", b"0", b"5", b"a;b=c", b"X: y", b"\n", b"ffffffffffffffff", b" "), _CHUNKED),
    Target("http1-reply", http1_reply, (client_connection,), (*_HTTP_TOKENS, b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 x\r\n\r\n"), _REPLIES),
    Target("http2-server", http2_server, (http2_connection, frames), _CLIENT_FRAMES,
           (_SETTINGS + b"".join(_CLIENT_FRAMES[:2]), *(_SETTINGS + one for one in _CLIENT_FRAMES)), speed=4),
    Target("http2-client", http2_client, (http2_connection, frames), (*_SERVER_FRAMES, *_CLIENT_FRAMES),
           tuple(_SETTINGS + one for one in (*_SERVER_FRAMES, *_CLIENT_FRAMES)), speed=4),
    Target("header-block", header_block, (header_blocks,), (_REQUEST, _TRAILERS, b"\x82", b"\xbe", b"\x40", b"\x20", b"\x7f\xff"),
           _HEADER_BLOCKS, speed=4),
    Target("grpc-message", grpc_message, (grpc_messages,), (bytes(5), b"\1", b"\0\0\0\0\1"), (
        bytes(5), b"\0\0\0\0\3abc", b"\1\0\0\0\3abc", b"\0\0\0\0\1a\0\0\0\0\2bc",
        b"\1\0\0\0\x17\x1f\x8b\x08\0\0\0\0\0\2\xffKLJ\6\0\xc2A$5\3\0\0\0", b"\0\0\2\0\0" + bytes(1 << 17), _too_large())),
    Target("grpc-fields", grpc_fields, (grpc_metadata,), (b"grpc-timeout:", b"x-bin:", b"AAE=", b"100m", b"\n", b","), (
        b"grpc-timeout:1S\nx-bin:AAE\n:path:/x\na:b", b"grpc-timeout:99999999H", b"x-bin:AA,BB\nx:1")),
]  # fmt: skip
