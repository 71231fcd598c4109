"""What `Connection.receive` tells: one object for each thing that a peer did."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossover.transport.http2.connection import Stream
    from crossover.transport.http2.frames import Buffer
    from crossover.transport.http2.header_blocks import Fields


class HeadersReceived:
    """A request, on the stream that it opens; or the final response to one. `ends`: nothing follows.

    What came right behind the fields is told with them: the first piece of the content, and the trailers. A small message
    is one event.

    With `fields.is_too_large` the fields are not whole: the stream is to be refused.
    """

    __slots__ = ("data", "ends", "fields", "stream", "trailers")

    def __init__(self, stream: Stream, fields: Fields, ends: bool) -> None:
        self.stream = stream
        self.fields = fields
        self.ends = ends
        self.data: Buffer | None = None
        self.trailers: Fields | None = None


class DataReceived:
    """A piece of a stream's content; it may be empty. `ends`: nothing follows."""

    __slots__ = ("data", "ends", "stream")

    def __init__(self, stream: Stream, data: Buffer, ends: bool) -> None:
        self.stream = stream
        self.data = data
        self.ends = ends


class TrailersReceived:
    """The fields that end a stream after its content."""

    __slots__ = ("fields", "stream")

    def __init__(self, stream: Stream, fields: Fields) -> None:
        self.stream = stream
        self.fields = fields


class StreamReset:
    """The stream is over: by the peer, or by us because of a fault of the peer's, which `fault` then names."""

    __slots__ = ("code", "fault", "stream")

    def __init__(self, stream: Stream, code: int, fault: str = "") -> None:
        self.stream = stream
        self.code = code
        self.fault = fault


class DataSent:
    """All that waited for the peer's window has left."""

    __slots__ = ("stream",)

    def __init__(self, stream: Stream) -> None:
        self.stream = stream


class SettingsReceived:
    """The peer's settings have changed."""

    __slots__ = ()


class PingAnswered:
    """The peer has answered the PING with this payload."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class GoAwayReceived:
    """The peer opens no stream any more, and looks at none of ours after `last`: these, `refused`, are over."""

    __slots__ = ("code", "last", "refused")

    def __init__(self, last: int, code: int, refused: list[Stream]) -> None:
        self.last = last
        self.code = code
        self.refused = refused


class ConnectionFailed:
    """The peer broke the protocol; the streams are over, and GOAWAY is the last frame of the output."""

    __slots__ = ("code", "streams", "text")

    def __init__(self, code: int, text: str, streams: list[Stream]) -> None:
        self.code = code
        self.text = text
        self.streams = streams


Event = (
    HeadersReceived | DataReceived | TrailersReceived | StreamReset | DataSent | SettingsReceived | PingAnswered
    | GoAwayReceived | ConnectionFailed
)  # fmt: skip
