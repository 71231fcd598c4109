"""RFC 9113, sections 4 to 6 and 8, as a table: what a peer sends after the handshake, and what the section says to it."""

from __future__ import annotations

from dataclasses import dataclass

from crossover.transport.http2.frames import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    frame,
    head,
    number,
    settings,
)
from crossover.transport.http2.header_blocks import literal

WHOLE = END_HEADERS | END_STREAM
PATH = "/inference.GRPCInferenceService/ServerLive"
REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "x"),
           ("te", "trailers"), ("content-type", "application/grpc")]  # fmt: skip
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
MESSAGE = bytes(5)
"""An empty message with its prefix: a whole ServerLive request."""
BIGGEST = number(2**31 - 1)


@dataclass(frozen=True)
class Connection:
    """A connection error: GOAWAY with this code."""

    code: int


@dataclass(frozen=True)
class Stream:
    """A stream error: RST_STREAM with this code, and the connection lives."""

    code: int
    number: int = 1


@dataclass(frozen=True)
class Answered:
    """The stream is answered with header fields, or the client's call ends well; the connection lives."""

    number: int = 1


@dataclass(frozen=True)
class Ignored:
    """Nothing comes of it: the connection lives."""


Expected = Connection | Stream | Answered | Ignored


@dataclass(frozen=True)
class Case:
    section: str
    what: str
    sent: bytes
    expected: Expected

    @property
    def name(self) -> str:
        return f"{self.section} {self.what}"


def block(fields: list[tuple[str, str]]) -> bytes:
    """Literals, whatever the fields are."""
    return b"".join(
        b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode() for name, value in fields
    )


def begin(stream: int = 1, flags: int = END_HEADERS, fields: list[tuple[str, str]] | None = None) -> bytes:
    """HEADERS of a request."""
    return frame(HEADERS, flags, stream, block(REQUEST if fields is None else fields))


def call(stream: int = 1) -> bytes:
    """A whole request."""
    return begin(stream) + frame(DATA, END_STREAM, stream, MESSAGE)


def request_with(*fields: tuple[str, str]) -> bytes:
    """A whole request with these fields after the others."""
    return begin(fields=[*REQUEST, *fields]) + frame(DATA, END_STREAM, 1, MESSAGE)


def malformed(section: str, what: str, fields: list[tuple[str, str]]) -> Case:
    return Case(section, what, begin(flags=WHOLE, fields=fields), Stream(PROTOCOL_ERROR))


BOTH = [
    Case("4.1", "a frame of an unknown type", frame(0xEE, 0xFF, 0, b"anything"), Ignored()),
    Case("4.1", "undefined flags", frame(PING, 0xFE, 0, bytes(8)), Ignored()),
    Case("4.1", "the reserved bit of a stream number", head(PING, 0, 1 << 31, 8) + bytes(8), Ignored()),
    Case("4.2", "a PING of 7 bytes", frame(PING, 0, 0, bytes(7)), Connection(FRAME_SIZE_ERROR)),
    Case("4.2", "a PING of 9 bytes", frame(PING, 0, 0, bytes(9)), Connection(FRAME_SIZE_ERROR)),
    Case("4.3", "a header block that cannot be read", frame(HEADERS, WHOLE, 1, b"\xff\xff\xff\xff\xff\xff\xff"),
         Connection(COMPRESSION_ERROR)),
    Case("4.3", "an index that is not in the table", frame(HEADERS, WHOLE, 1, b"\xfe"), Connection(COMPRESSION_ERROR)),
    Case("4.3", "a frame between HEADERS and CONTINUATION",
         frame(HEADERS, 0, 1, b"") + frame(PING, 0, 0, bytes(8)), Connection(PROTOCOL_ERROR)),
    Case("4.3", "CONTINUATION of another stream",
         frame(HEADERS, 0, 1, b"") + frame(CONTINUATION, END_HEADERS, 3, b""), Connection(PROTOCOL_ERROR)),
    Case("5.1", "DATA on an idle stream", frame(DATA, 0, 9, b"x"), Connection(PROTOCOL_ERROR)),
    Case("5.1", "RST_STREAM on an idle stream", frame(RST_STREAM, 0, 9, number(8)), Connection(PROTOCOL_ERROR)),
    Case("5.1", "WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 9, number(1)), Connection(PROTOCOL_ERROR)),
    Case("5.1", "PRIORITY on an idle stream", frame(PRIORITY, 0, 9, bytes(5)), Ignored()),
    Case("6.1", "DATA on stream 0", frame(DATA, 0, 0, b"x"), Connection(PROTOCOL_ERROR)),
    Case("6.1", "DATA whose padding is as long as the frame", frame(DATA, PADDED, 1, b"\x03ab"), Connection(PROTOCOL_ERROR)),
    Case("6.1", "padded DATA without a length", frame(DATA, PADDED, 1), Connection(FRAME_SIZE_ERROR)),
    Case("6.2", "HEADERS on stream 0", frame(HEADERS, WHOLE, 0, b"\x82"), Connection(PROTOCOL_ERROR)),
    Case("6.2", "HEADERS whose padding is as long as the frame", frame(HEADERS, WHOLE | PADDED, 1, b"\x03ab"),
         Connection(PROTOCOL_ERROR)),
    Case("6.2", "HEADERS that end in their priority", frame(HEADERS, WHOLE | WITH_PRIORITY, 1, b"abc"),
         Connection(FRAME_SIZE_ERROR)),
    Case("6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), Connection(PROTOCOL_ERROR)),
    Case("6.4", "RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, number(8)), Connection(PROTOCOL_ERROR)),
    Case("6.4", "RST_STREAM of 5 bytes", frame(RST_STREAM, 0, 1, bytes(5)), Connection(FRAME_SIZE_ERROR)),
    Case("6.4", "RST_STREAM of 3 bytes", frame(RST_STREAM, 0, 1, bytes(3)), Connection(FRAME_SIZE_ERROR)),
    Case("6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1), Connection(PROTOCOL_ERROR)),
    Case("6.5", "SETTINGS of 7 bytes", frame(SETTINGS, 0, 0, bytes(7)), Connection(FRAME_SIZE_ERROR)),
    Case("6.5", "SETTINGS ACK with a payload", frame(SETTINGS, ACK, 0, bytes(6)), Connection(FRAME_SIZE_ERROR)),
    Case("6.5.2", "an unknown setting", frame(SETTINGS, 0, 0, settings({0xFFFF: 7})), Ignored()),
    Case("6.5.2", "ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, settings({2: 2})), Connection(PROTOCOL_ERROR)),
    Case("6.5.2", "INITIAL_WINDOW_SIZE of 2^31", frame(SETTINGS, 0, 0, settings({4: 1 << 31})),
         Connection(FLOW_CONTROL_ERROR)),
    Case("6.5.2", "MAX_FRAME_SIZE below 2^14", frame(SETTINGS, 0, 0, settings({5: (1 << 14) - 1})),
         Connection(PROTOCOL_ERROR)),
    Case("6.5.2", "MAX_FRAME_SIZE of 2^24", frame(SETTINGS, 0, 0, settings({5: 1 << 24})), Connection(PROTOCOL_ERROR)),
    Case("6.5.3", "a bad value that a later one replaces",
         frame(SETTINGS, 0, 0, settings({5: 1}) + settings({5: 1 << 14})), Connection(PROTOCOL_ERROR)),
    Case("6.6", "PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, number(2)), Connection(PROTOCOL_ERROR)),
    Case("6.7", "PING on a stream", frame(PING, 0, 1, bytes(8)), Connection(PROTOCOL_ERROR)),
    Case("6.7", "a PING acknowledgement that nobody asked for", frame(PING, ACK, 0, bytes(8)), Ignored()),
    Case("6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, bytes(8)), Connection(PROTOCOL_ERROR)),
    Case("6.8", "GOAWAY of 7 bytes", frame(GOAWAY, 0, 0, bytes(7)), Connection(FRAME_SIZE_ERROR)),
    Case("6.9", "WINDOW_UPDATE of 3 bytes", frame(WINDOW_UPDATE, 0, 0, bytes(3)), Connection(FRAME_SIZE_ERROR)),
    Case("6.9", "WINDOW_UPDATE of 0 for the connection", frame(WINDOW_UPDATE, 0, 0, number(0)), Connection(PROTOCOL_ERROR)),
    Case("6.9.1", "a window of the connection above 2^31-1", frame(WINDOW_UPDATE, 0, 0, BIGGEST),
         Connection(FLOW_CONTROL_ERROR)),
    Case("6.10", "CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1, b"\x82"), Connection(PROTOCOL_ERROR)),
    Case("6.10", "CONTINUATION on stream 0", frame(CONTINUATION, END_HEADERS, 0, b"\x82"), Connection(PROTOCOL_ERROR)),
    Case("10.5.1", "a header block without end",
         frame(HEADERS, 0, 1, bytes(9)) + frame(CONTINUATION, 0, 1, literal("a", "x" * 15_000)) * 20,
         Connection(ENHANCE_YOUR_CALM)),
]  # fmt: skip

SERVER = [
    Case("4.3", "a request in CONTINUATION frames",
         frame(HEADERS, 0, 1, block(REQUEST[:2])) + frame(CONTINUATION, 0, 1) +
         frame(CONTINUATION, END_HEADERS, 1, block(REQUEST[2:])) + frame(DATA, END_STREAM, 1, MESSAGE), Answered()),
    Case("5.1", "DATA after END_STREAM, while the reply is awaited", begin(flags=WHOLE) + frame(DATA, 0, 1, b"x"),
         Stream(STREAM_CLOSED)),
    Case("5.1", "HEADERS after END_STREAM, while the reply is awaited", call() + begin(flags=WHOLE), Stream(STREAM_CLOSED)),
    Case("5.1", "DATA after RST_STREAM", begin() + frame(RST_STREAM, 0, 1, number(8)) + frame(DATA, 0, 1, b"x"),
         Stream(STREAM_CLOSED)),
    Case("5.1", "WINDOW_UPDATE and RST_STREAM after RST_STREAM",
         begin() + frame(RST_STREAM, 0, 1, number(8)) * 2 + frame(WINDOW_UPDATE, 0, 1, number(1)), Ignored()),
    Case("5.1.1", "a stream with an even number", begin(2, WHOLE), Connection(PROTOCOL_ERROR)),
    Case("5.1.1", "a stream with a lower number", begin(5, WHOLE) + begin(3, WHOLE), Connection(PROTOCOL_ERROR)),
    Case("5.1.1", "numbers that were left out", call(7), Answered(7)),
    Case("6.1", "padded DATA", begin() + frame(DATA, PADDED | END_STREAM, 1, b"\x03" + MESSAGE + bytes(3)), Answered()),
    Case("6.2", "padded HEADERS with a priority",
         frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, b"\x02" + bytes(5) + block(REQUEST) + bytes(2)) +
         frame(DATA, END_STREAM, 1, MESSAGE), Answered()),
    Case("6.3", "PRIORITY of 4 bytes", begin() + frame(PRIORITY, 0, 1, bytes(4)), Stream(FRAME_SIZE_ERROR)),
    Case("6.9", "WINDOW_UPDATE of 0 for a stream", begin() + frame(WINDOW_UPDATE, 0, 1, number(0)), Stream(PROTOCOL_ERROR)),
    Case("6.9.1", "a stream's window above 2^31-1", begin() + frame(WINDOW_UPDATE, 0, 1, BIGGEST), Stream(FLOW_CONTROL_ERROR)),
    Case("6.9.2", "SETTINGS that make a stream's window too large",
         begin() + frame(WINDOW_UPDATE, 0, 1, number(2**31 - 1 - 65_535)) + frame(SETTINGS, 0, 0, settings({4: 70_000})),
         Connection(FLOW_CONTROL_ERROR)),
    Case("8.1", "HEADERS after the first without END_STREAM", begin() + frame(HEADERS, END_HEADERS, 1, block([("a", "b")])),
         Stream(PROTOCOL_ERROR)),
    Case("8.1", "trailers of a request", begin() + frame(DATA, 0, 1, MESSAGE) + frame(HEADERS, WHOLE, 1, block([("a", "b")])),
         Answered()),
    Case("8.1", "pseudo-header fields in trailers",
         begin() + frame(DATA, 0, 1, MESSAGE) + frame(HEADERS, WHOLE, 1, block([(":path", "/")])), Stream(PROTOCOL_ERROR)),
    Case("8.1.1", "content-length above the content", request_with(("content-length", "6")), Stream(PROTOCOL_ERROR)),
    Case("8.1.1", "content-length below the content", request_with(("content-length", "4")), Stream(PROTOCOL_ERROR)),
    Case("8.1.1", "the right content-length", request_with(("content-length", "5")), Answered()),
    malformed("8.2.1", "an upper-case name", [*REQUEST, ("Note", "x")]),
    malformed("8.2.1", "an empty name", [*REQUEST, ("", "x")]),
    malformed("8.2.1", "NUL in a value", [*REQUEST, ("note", "a\0b")]),
    malformed("8.2.1", "CR in a value", [*REQUEST, ("note", "a\rb")]),
    malformed("8.2.1", "LF in a value", [*REQUEST, ("note", "a\nb")]),
    malformed("8.2.1", "a value with a blank before it", [*REQUEST, ("note", " a")]),
    malformed("8.2.2", "connection", [*REQUEST, ("connection", "keep-alive")]),
    malformed("8.2.2", "transfer-encoding", [*REQUEST, ("transfer-encoding", "chunked")]),
    malformed("8.2.2", "te: gzip", [*REQUEST[:4], ("te", "gzip")]),
    malformed("8.3", "an unknown pseudo-header", [(":color", "x"), *REQUEST]),
    malformed("8.3", ":status in a request", [*REQUEST[:4], (":status", "200")]),
    malformed("8.3", "a pseudo-header after a regular field", [*REQUEST[:2], ("note", "x"), *REQUEST[2:]]),
    malformed("8.3.1", "a repeated :path", [REQUEST[2], *REQUEST]),
    malformed("8.3.1", "no :method", REQUEST[1:]),
    malformed("8.3.1", "no :scheme", [REQUEST[0], *REQUEST[2:]]),
    malformed("8.3.1", "no :path", [*REQUEST[:2], *REQUEST[3:]]),
    malformed("8.3.1", "an empty :path", [*REQUEST[:2], (":path", ""), *REQUEST[3:]]),
    Case("10.5.1", "a header list that is too large, and the connection's next call",
         frame(HEADERS, 0, 1, block(REQUEST)) + frame(CONTINUATION, 0, 1, literal("a", "x" * 15_000)) * 5 +
         frame(CONTINUATION, END_HEADERS, 1) + frame(DATA, END_STREAM, 1, MESSAGE) + call(3), Answered(3)),
]  # fmt: skip
"""The peer is a client: its requests are gRPC's, so that a gRPC server answers them."""

_REPLY = frame(HEADERS, END_HEADERS, 1, block(RESPONSE)) + frame(DATA, 0, 1, MESSAGE)
_OK = frame(HEADERS, WHOLE, 1, block([("grpc-status", "0")]))

CLIENT = [
    Case("4.3", "a reply in CONTINUATION frames",
         frame(HEADERS, 0, 1, block(RESPONSE)) + frame(CONTINUATION, END_HEADERS, 1) + frame(DATA, 0, 1, MESSAGE) + _OK,
         Answered()),
    Case("5.1.1", "HEADERS on a stream that the server would open", frame(HEADERS, WHOLE, 2, block(RESPONSE)),
         Connection(PROTOCOL_ERROR)),
    Case("5.1.1", "HEADERS on an idle stream", frame(HEADERS, WHOLE, 9, block(RESPONSE)), Connection(PROTOCOL_ERROR)),
    Case("5.1", "DATA after the end", _REPLY + _OK + frame(DATA, 0, 1, b"x"), Stream(STREAM_CLOSED)),
    Case("5.1", "trailers after the end", _REPLY + _OK * 2, Stream(STREAM_CLOSED)),
    Case("6.5.2", "ENABLE_PUSH of 1 from a server", frame(SETTINGS, 0, 0, settings({2: 1})), Connection(PROTOCOL_ERROR)),
    Case("6.9", "WINDOW_UPDATE of 0 for a stream", frame(WINDOW_UPDATE, 0, 1, number(0)), Stream(PROTOCOL_ERROR)),
    Case("8.1", "DATA before HEADERS", frame(DATA, 0, 1, MESSAGE), Stream(PROTOCOL_ERROR)),
    Case("8.1", "an interim response first", frame(HEADERS, END_HEADERS, 1, block([(":status", "103")])) + _REPLY + _OK,
         Answered()),
    Case("8.1", "an interim response that ends the stream", frame(HEADERS, WHOLE, 1, block([(":status", "103")])),
         Stream(PROTOCOL_ERROR)),
    Case("8.1", "HEADERS after the first without END_STREAM", _REPLY + frame(HEADERS, END_HEADERS, 1, block([("a", "b")])),
         Stream(PROTOCOL_ERROR)),
    Case("8.1", "pseudo-header fields in trailers", _REPLY + frame(HEADERS, WHOLE, 1, block([(":status", "200")])),
         Stream(PROTOCOL_ERROR)),
    Case("8.1.1", "content-length below the content",
         frame(HEADERS, END_HEADERS, 1, block([*RESPONSE, ("content-length", "4")])) + frame(DATA, 0, 1, MESSAGE),
         Stream(PROTOCOL_ERROR)),
    Case("8.1.1", "content-length above the content",
         frame(HEADERS, END_HEADERS, 1, block([*RESPONSE, ("content-length", "6")])) + frame(DATA, 0, 1, MESSAGE) + _OK,
         Stream(PROTOCOL_ERROR)),
    Case("8.2.1", "an upper-case name", frame(HEADERS, END_HEADERS, 1, block([*RESPONSE, ("Note", "x")])),
         Stream(PROTOCOL_ERROR)),
    Case("8.2.1", "LF in a value of the trailers", _REPLY + frame(HEADERS, WHOLE, 1, block([("grpc-message", "a\nb")])),
         Stream(PROTOCOL_ERROR)),
    Case("8.2.2", "transfer-encoding", frame(HEADERS, END_HEADERS, 1, block([*RESPONSE, ("transfer-encoding", "x")])),
         Stream(PROTOCOL_ERROR)),
    Case("8.3", "a pseudo-header of requests", frame(HEADERS, END_HEADERS, 1, block([(":path", "/"), *RESPONSE])),
         Stream(PROTOCOL_ERROR)),
    Case("8.3.2", "no :status", frame(HEADERS, END_HEADERS, 1, block(RESPONSE[1:])), Stream(PROTOCOL_ERROR)),
    Case("8.3.2", "two :status", frame(HEADERS, END_HEADERS, 1, block([RESPONSE[0], *RESPONSE])), Stream(PROTOCOL_ERROR)),
    Case("8.6", "101", frame(HEADERS, END_HEADERS, 1, block([(":status", "101")])), Stream(PROTOCOL_ERROR)),
]  # fmt: skip
"""The peer is a server, and stream 1 has a whole request of the client's."""
