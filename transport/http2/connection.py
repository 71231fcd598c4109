"""An HTTP/2 connection without I/O, either end of one: bytes in, events out; calls in, bytes out (RFC 9113).

It knows no socket, no event loop and nothing of gRPC. For whoever changes it, the rules that it keeps:

1.  `receive` takes bytes as they come and returns events. Nobody is called back: calls that the reader of the events
    makes (`send_headers`, `reset`, ...) only add to the output, which `take_output` hands over.
2.  A stream is in `streams` from the frame that opens it until both sides have ended it or one has reset it. So a
    number that is not there is *idle* (no stream had it yet) or *closed*:

        frame on          idle (5.1)              half-closed by the peer     closed
        DATA              connection PROTOCOL     stream STREAM_CLOSED        stream STREAM_CLOSED (6.1)
        HEADERS           opens it (server)       stream STREAM_CLOSED        connection STREAM_CLOSED (server; 5.1), or
                                                                              PROTOCOL_ERROR if it was skipped (5.1.1)
        RST_STREAM        connection PROTOCOL     ends it                     passed over
        WINDOW_UPDATE     connection PROTOCOL     counts                      passed over
        PRIORITY          passed over (6.3)       passed over                 passed over

    Streams that we have reset are remembered (`_reset_here`) until the peer has ended them too: whatever is still on
    its way is passed over (5.1), though header blocks are decoded and DATA counts for the connection's window.
3.  Two kinds of fault. `ConnectionFaultError` ends everything: one GOAWAY with the last stream that was taken up, then
    `ConnectionFailed` (5.4.1). `_StreamFaultError` ends one stream: RST_STREAM, then `StreamReset` where somebody has
    the stream (5.4.2). A malformed message is a stream's fault (8.1.1). What a fault of a stream costs is bounded.
4.  A header block is decoded before anything is decided about its stream: the table belongs to the connection (4.3).
    Blocks are encoded when they leave, in that order; trailers behind DATA that waits are therefore kept as fields.
5.  Flow control counts whole DATA frames, padding included (6.9). The connection's window is given back as DATA comes;
    a stream's by `grant`, when its reader has room; padding at once.
6.  Whatever a peer can repeat without bringing a call forward is paid from a token bucket (`limits.py`).
7.  `goaway` may be called twice: first with LAST_STREAM, which announces the end, then with what was taken up (6.8).
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from crossover.protocol.errors import PortableError
from crossover.transport.http2 import frames as http2
from crossover.transport.http2.events import (
    ConnectionFailed,
    DataReceived,
    DataSent,
    GoAwayReceived,
    HeadersReceived,
    PingAnswered,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
)
from crossover.transport.http2.frames import Buffer, ConnectionFaultError, FrameReader
from crossover.transport.http2.header_blocks import REQUEST, RESPONSE, TRAILERS, Fields, HeaderReader, HeaderWriter
from crossover.transport.http2.limits import SETTINGS_COST, Limits, TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.transport.http2.events import Event

_REPLENISH_BYTES = 1 << 30
_REMEMBERED = 1 << 14
"""Streams that we have reset, and gaps between numbers, that are remembered."""
_SMALL_DATA = 32
"""DATA of fewer bytes that does not end its stream counts as an idle frame."""
_EARNED = 4
"""Idle frames that a DATA frame of ours allows: the peer answers it with WINDOW_UPDATE for stream and connection."""


_NOTHING_UNSENT: deque[memoryview] = deque(maxlen=0)
"""What a stream has of which nothing waits: nearly every one, all its life."""
_HEADERS_FORM = http2.END_HEADERS | http2.PADDED | http2.WITH_PRIORITY
"""Flags that say how the payload of HEADERS is to be read."""


class _StreamFaultError(PortableError):
    """The peer broke the protocol on one stream (5.4.2)."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


SeenFrame = tuple[bool, int, int, int]
"""A frame of a stream: whether it was sent, its type, its flags, and the bytes of its payload."""


class Stream:
    """One stream. `owner` is for the reader of the events; a stream without one is nobody's any more."""

    __slots__ = (
        "answered", "ends", "expected", "frames", "local_ended", "number", "owner", "receive_window", "remote_ended",
        "send_window", "trailers", "unsent", "unsent_bytes",
    )  # fmt: skip

    def __init__(self, number: int, send_window: int, receive_window: int) -> None:
        self.number = number
        self.owner: Any = None
        self.send_window = send_window
        """Bytes of DATA that the peer accepts on this stream; SETTINGS can make it negative (6.9.2)."""
        self.receive_window = receive_window
        """Bytes of DATA that the peer may still send."""
        self.local_ended = self.remote_ended = False
        self.answered = False
        """The final response's header fields have come, or the request's."""
        self.expected: int | None = None
        """Bytes of content that are still to come, where content-length says (8.1.1)."""
        self.unsent = _NOTHING_UNSENT
        """DATA that waits for a window, ..."""
        self.unsent_bytes = 0
        self.ends = False
        """... whether its last frame ends the stream, ..."""
        self.trailers: tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] | None = None
        """... or the fields that do."""
        self.frames: list[SeenFrame] | None = None
        """HEADERS and DATA as they are sent and received, where the owner puts a list here."""


class Connection:
    """One end; `client` says which. `window` is what each stream may send before it is granted more."""

    def __init__(
        self,
        *,
        client: bool,
        window: int,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits = limits or Limits()
        self.streams: dict[int, Stream] = {}
        self.settled = False
        """The peer's first SETTINGS have come."""
        self.failed = False
        """The peer broke the protocol: nothing more is read."""
        self.is_behind = False
        """More frames have come than were read: call `receive(b"")`, when others have had their turn."""
        self.not_http2 = False
        """It failed because what came instead of a client's preface was not HTTP/2."""
        self.peer_streams = http2.LAST_STREAM
        """How many streams the peer takes at once."""
        self.peer_goes = False
        """The peer has sent GOAWAY."""
        self.unsent_bytes = 0
        """Of all streams."""
        self._client = client
        self._window = window
        self._preface = b"" if client else http2.PREFACE
        """What has to come before the first frame."""
        self._frames, self._reader, self._writer = FrameReader(), HeaderReader(), HeaderWriter()
        self._out: list[Buffer] = []
        self._events: list[Event] = []
        self._send_window = self._receive_window = http2.DEFAULT_WINDOW
        self._peer_window = http2.DEFAULT_WINDOW
        """What the peer's SETTINGS give each stream at first."""
        self._frame = http2.DEFAULT_FRAME
        self._newest = -1
        """The newest stream: of the peer's on a server, of ours on a client."""
        self._taken = 0
        """The newest of the peer's that somebody was told of."""
        self._last = http2.LAST_STREAM
        """What our GOAWAY has named."""
        self._skipped: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        """Gaps in the numbers of the peer's streams: these were never opened."""
        self._reset_here: dict[int, None] = {}
        self._blocked: deque[Stream] = deque()
        self._block: tuple[int, int, bytearray] | None = None
        """Stream, flags and beginning of a header block that CONTINUATION frames complete."""
        self._ends = False
        """Whether the frame, or header block, that is being taken ends its stream."""
        self._drops = False
        """What is still to come of the current DATA frame belongs to a fault that was answered."""
        self._resets = TokenBucket(limits.resets, limits.resets_per_second, clock)
        self._faults = TokenBucket(limits.faults, limits.faults_per_second, clock)
        self._idle_frames = TokenBucket(limits.idle_frames, limits.idle_frames_per_second, clock)
        self._take = {
            http2.RST_STREAM: self._take_reset,
            http2.SETTINGS: self._take_settings,
            http2.PING: self._take_ping,
            http2.GOAWAY: self._take_goaway,
            http2.WINDOW_UPDATE: self._take_window_update,
            http2.PRIORITY: self._take_priority,
        }
        if client:
            self._begin()

    def _begin(self) -> None:
        """What each end sends first (3.4): SETTINGS, and a window of the connection that never stands in the way."""
        settings = {
            http2.ENABLE_PUSH: 0,
            http2.INITIAL_WINDOW_SIZE: self._window,
            http2.MAX_FRAME_SIZE: http2.LARGEST_FRAME,
            http2.MAX_HEADER_LIST_SIZE: http2.LARGEST_FIELDS,
        }
        if not self._client:
            settings[http2.MAX_CONCURRENT_STREAMS] = self.limits.streams
        grown = http2.LARGEST_WINDOW - self._receive_window
        self._receive_window = http2.LARGEST_WINDOW
        self._out += (
            http2.PREFACE if self._client else b"",
            http2.frame(http2.SETTINGS, 0, 0, http2.settings(settings)),
            http2.frame(http2.WINDOW_UPDATE, 0, 0, http2.number(grown)),
        )

    # out

    def take_output(self) -> bytes:
        """The bytes to be sent now."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    @property
    def last_stream_taken(self) -> int:
        return self._taken

    @property
    def blocked(self) -> list[Stream]:
        """Streams whose DATA waits for the peer."""
        return [stream for stream in self._blocked if stream.unsent]

    @property
    def may_open(self) -> bool:
        """Whether a client may open another stream here, now or when one ends."""
        return not (self.peer_goes or self.failed) and self._newest < http2.LAST_STREAM - 2

    def open(self, owner: Any) -> Stream:
        """A client's new stream; `send_headers` comes next."""
        self._newest += 2
        stream = Stream(self._newest, self._peer_window, self._window)
        stream.owner = owner
        self.streams[stream.number] = stream
        return stream

    def send_headers(
        self,
        stream: Stream,
        repeated: tuple[tuple[str, str], ...],
        own: tuple[tuple[str, str], ...] = (),
        *,
        ends: bool = False,
    ) -> None:
        """Header fields or, with `ends` after content, trailers. `repeated` are fields that others will have too."""
        if stream.local_ended or stream.ends or stream.number not in self.streams:
            return
        if stream.unsent:
            stream.trailers, stream.ends = (repeated, own), True
            return
        self._put_headers(stream, self._writer.block(repeated, own), http2.END_STREAM if ends else 0)
        if ends:
            self._end_local(stream)

    def send_data(self, stream: Stream, *parts: Buffer, ends: bool = False) -> None:
        """Content, as one DATA frame where the windows and the peer's frames allow it; what they don't waits."""
        if stream.local_ended or stream.ends or stream.number not in self.streams:
            return
        size = sum(map(len, parts))
        if not stream.unsent and size <= self._send_window and size <= stream.send_window and size <= self._frame:
            self._send_window -= size
            stream.send_window -= size
            self._idle_frames.earn(_EARNED)
            self._out.append(http2.head(http2.DATA, http2.END_STREAM if ends else 0, stream.number, size))
            self._out += parts
            if stream.frames is not None:
                stream.frames.append((True, http2.DATA, http2.END_STREAM if ends else 0, size))
            if ends:
                self._end_local(stream)
            return
        waits = bool(stream.unsent)
        if not waits:
            stream.unsent = deque()
        stream.unsent.extend([memoryview(part) for part in parts if len(part)])
        stream.unsent_bytes += size
        self.unsent_bytes += size
        stream.ends = ends
        if not waits and not self._pump(stream):
            self._blocked.append(stream)

    def send_message(
        self,
        stream: Stream,
        repeated: tuple[tuple[str, str], ...],
        own: tuple[tuple[str, str], ...],
        parts: tuple[Buffer, ...],
        trailers: tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] | None = None,
    ) -> None:
        """A whole message, which ends the stream: header fields, content and perhaps trailers.

        It is `send_headers`, `send_data` and `send_headers` in one step where the windows let all of it leave.
        """
        if stream.local_ended or stream.ends or stream.number not in self.streams:
            return
        size = sum(map(len, parts))
        fits = size <= self._send_window and size <= stream.send_window and size <= self._frame
        if not fits or stream.unsent or stream.frames is not None:
            self.send_headers(stream, repeated, own)
            self.send_data(stream, *parts, ends=trailers is None)
            if trailers is not None:
                self.send_headers(stream, *trailers, ends=True)
            return
        self._send_window -= size
        stream.send_window -= size
        self._idle_frames.earn(_EARNED)
        self._put_headers(stream, self._writer.block(repeated, own), 0)
        self._out += (http2.head(http2.DATA, http2.END_STREAM if trailers is None else 0, stream.number, size), *parts)
        if trailers is not None:
            self._put_headers(stream, self._writer.block(*trailers), http2.END_STREAM)
        self._end_local(stream)

    def grant(self, stream: Stream, count: int) -> None:
        """Let the peer send so many bytes more on the stream (6.9)."""
        if count > 0 and stream.number in self.streams and not stream.remote_ended:
            stream.receive_window += count
            self._out.append(http2.frame(http2.WINDOW_UPDATE, 0, stream.number, http2.number(count)))

    def reset(self, stream: Stream, code: int) -> None:
        """End the stream on both sides (6.4); nothing is told of it any more."""
        if stream.number in self.streams:
            self._put_reset(stream.number, code, remembered=not stream.remote_ended)
            self._forget(stream)

    def ping(self, payload: bytes) -> None:
        """Eight bytes, which come back in `PingAnswered`."""
        self._out.append(http2.frame(http2.PING, 0, 0, payload))

    def goaway(self, code: int = http2.NO_ERROR, last: int | None = None) -> None:
        """No stream after `last` is looked at; without one, none after those that were taken up (6.8)."""
        self._last = min(self._last, self._taken if last is None else last)
        self._out.append(http2.frame(http2.GOAWAY, 0, 0, http2.number(self._last) + http2.number(code)))

    def abandon(self) -> list[Stream]:
        """The streams that were open; calls about them do nothing from here on."""
        streams = list(self.streams.values())
        for stream in streams:
            self._forget(stream)
        self._blocked.clear()
        return streams

    def _put_headers(self, stream: Stream, block: bytes, flags: int) -> None:
        """A header block, in CONTINUATION frames too where it is longer than the peer's frames (4.3)."""
        size, number = self._frame, stream.number
        if stream.frames is not None:
            stream.frames.append((True, http2.HEADERS, http2.END_HEADERS | flags, len(block)))
        if len(block) <= size:
            self._out += (http2.head(http2.HEADERS, http2.END_HEADERS | flags, number, len(block)), block)
            return
        pieces = [block[at : at + size] for at in range(0, len(block), size)]
        self._out.append(http2.frame(http2.HEADERS, flags, number, pieces[0]))
        self._out += [http2.frame(http2.CONTINUATION, 0, number, piece) for piece in pieces[1:-1]]
        self._out.append(http2.frame(http2.CONTINUATION, http2.END_HEADERS, number, pieces[-1]))

    def _put_reset(self, number: int, code: int, *, remembered: bool) -> None:
        self._out.append(http2.frame(http2.RST_STREAM, 0, number, http2.number(code)))
        if remembered:
            if len(self._reset_here) >= _REMEMBERED:
                del self._reset_here[next(iter(self._reset_here))]
            self._reset_here[number] = None

    def _pump(self, stream: Stream) -> bool:
        """Send what the windows allow; whether that was all."""
        unsent, before = stream.unsent, stream.unsent_bytes
        while unsent:
            room = min(self._send_window, stream.send_window, self._frame, len(unsent[0]))
            if room <= 0:
                break
            piece = unsent.popleft()
            if room < len(piece):
                unsent.appendleft(piece[room:])
                piece = piece[:room]
            self._send_window -= room
            stream.send_window -= room
            stream.unsent_bytes -= room
            self._idle_frames.earn(_EARNED)
            ends = stream.ends and stream.trailers is None and not unsent
            self._out += (http2.head(http2.DATA, http2.END_STREAM if ends else 0, stream.number, room), piece)
            if stream.frames is not None:
                stream.frames.append((True, http2.DATA, http2.END_STREAM if ends else 0, room))
        self.unsent_bytes += stream.unsent_bytes - before
        if unsent:
            return False
        if stream.trailers is not None:
            self._put_headers(stream, self._writer.block(*stream.trailers), http2.END_STREAM)
        if stream.ends:
            self._end_local(stream)
        return True

    def _resume(self) -> None:
        """The windows have grown."""
        blocked, self._blocked = self._blocked, deque()
        for stream in blocked:
            if not stream.unsent:
                continue
            if self._pump(stream):
                self._events.append(DataSent(stream))
            else:
                self._blocked.append(stream)

    # the end of a stream

    def _end_local(self, stream: Stream) -> None:
        stream.local_ended = True
        if stream.remote_ended:
            self._forget(stream)

    def _end_remote(self, stream: Stream) -> None:
        if stream.expected:
            raise _StreamFaultError(http2.PROTOCOL_ERROR, "the content is shorter than content-length says")
        stream.remote_ended = True
        if stream.local_ended:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self.streams.pop(stream.number, None)
        if stream.unsent:
            self.unsent_bytes -= stream.unsent_bytes
            stream.unsent_bytes = 0
            stream.unsent.clear()

    # in

    def receive(self, data: bytes) -> list[Event]:
        """What the peer did. With `is_behind` there is more to be read."""
        events: list[Event] = []
        if self.failed:
            return events
        self._events = events
        try:
            if self._preface:
                data = self._take_preface(data)
            for kind, flags, number, payload, size in self._frames.feed(data):
                try:
                    if self._block is not None:
                        self._continue_block(kind, flags, number, payload)
                    elif kind == http2.DATA:
                        self._take_data(flags, number, payload, size)
                    elif kind == http2.HEADERS:
                        self._take_headers(flags, number, payload)
                    elif kind == http2.WINDOW_UPDATE and self.settled:  # grpcio sends two with each call
                        self._ends = False
                        self._take_window_update(flags, number, payload, size)
                    else:
                        self._take_other(kind, flags, number, payload, size)
                except _StreamFaultError as fault:
                    self._fail_stream(number, fault)
                    self._drops = self._frames.within_data
            self.is_behind = self._frames.behind
        except ConnectionFaultError as fault:
            self._fail(fault)
        return events

    def _take_preface(self, data: bytes) -> bytes:
        """What follows the client's preface (3.4)."""
        expected = self._preface
        if data[: len(expected)] != expected[: len(data)]:
            self.not_http2 = True
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, "what came first is no HTTP/2 preface")
        self._preface = expected[len(data) :]
        if not self._preface:
            self._begin()  # not before: what comes may be HTTP/1.1, which is answered in its own words
        return data[len(expected) :]

    def _take_data(self, flags: int, number: int, payload: Buffer, size: int) -> None:
        if not self.settled:
            raise _no_settings()
        self._receive_window -= size
        if self._receive_window < http2.LARGEST_WINDOW - _REPLENISH_BYTES:
            self._out.append(
                http2.frame(http2.WINDOW_UPDATE, 0, 0, http2.number(http2.LARGEST_WINDOW - self._receive_window))
            )
            self._receive_window = http2.LARGEST_WINDOW
        ends = flags & http2.END_STREAM
        stream = self.streams.get(number)
        if self._drops:
            self._drops = self._frames.within_data
            return
        self._ends = bool(ends)
        if stream is None:
            self._check_not_idle(number)
            if number not in self._reset_here:
                raise _StreamFaultError(http2.STREAM_CLOSED, "DATA came on a closed stream")
            if ends:
                del self._reset_here[number]
            return
        if stream.remote_ended:
            raise _StreamFaultError(http2.STREAM_CLOSED, "DATA came after END_STREAM")
        if not stream.answered:
            raise _StreamFaultError(http2.PROTOCOL_ERROR, "DATA came before HEADERS")
        if stream.frames is not None:
            stream.frames.append((False, http2.DATA, flags, size))
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise _StreamFaultError(http2.FLOW_CONTROL_ERROR, "more DATA came than the stream's window allows")
        if stream.expected is not None:
            stream.expected -= len(payload)
            if stream.expected < 0:
                raise _StreamFaultError(http2.PROTOCOL_ERROR, "the content is longer than content-length says")
        if ends:
            self._end_remote(stream)
        else:
            if size != len(payload):
                self.grant(stream, size - len(payload))
            if len(payload) < _SMALL_DATA:
                self._pay(1)
        last = self._events[-1] if self._events else None
        if type(last) is HeadersReceived and last.stream is stream and last.data is None:
            last.data, last.ends = payload, bool(ends)
        else:
            self._events.append(DataReceived(stream, payload, bool(ends)))

    def _take_headers(self, flags: int, number: int, payload: Buffer) -> None:
        if not self.settled:
            raise _no_settings()
        if not number:
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, "HEADERS came on stream 0")
        if flags & _HEADERS_FORM == http2.END_HEADERS:
            self._take_block(flags, number, bytes(payload))
            return
        block = http2.header_block_in(flags, payload)
        if flags & http2.END_HEADERS:
            self._take_block(flags, number, block)
        else:
            self._block = number, flags, bytearray(block)

    def _continue_block(self, kind: int, flags: int, number: int, payload: Buffer) -> None:
        """Nothing may come between the frames of a header block (4.3, 6.10)."""
        assert self._block is not None
        begun, first, block = self._block
        if kind != http2.CONTINUATION or number != begun:
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, "a header block is interrupted")
        self._pay(1)
        block += payload
        if len(block) > http2.LARGEST_BLOCK:
            raise ConnectionFaultError(http2.ENHANCE_YOUR_CALM, "a header block is far too large")
        if flags & http2.END_HEADERS:
            self._block = None
            self._take_block(first, number, bytes(block))

    def _take_block(self, flags: int, number: int, block: bytes) -> None:
        """A whole header block: a request, a response, or trailers."""
        fields = self._reader.fields(block)
        ends = bool(flags & http2.END_STREAM)
        self._ends = ends
        stream = self.streams.get(number)
        if stream is not None and stream.frames is not None:
            stream.frames.append((False, http2.HEADERS, http2.END_HEADERS | flags, len(block)))
        if stream is None:
            self._take_block_without_stream(number, fields, ends)
        elif stream.remote_ended:
            raise _StreamFaultError(http2.STREAM_CLOSED, "HEADERS came after END_STREAM")
        elif stream.answered:
            self._take_trailers(stream, fields, ends)
        else:
            self._take_response(stream, fields, ends)

    def _take_block_without_stream(self, number: int, fields: Fields, ends: bool) -> None:
        if number in self._reset_here:
            if ends:
                del self._reset_here[number]
        elif self._client:
            self._check_not_idle(number)
            raise _StreamFaultError(http2.STREAM_CLOSED, "HEADERS came on a closed stream")
        elif not number & 1:
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, "a client's stream has an even number")
        elif number > self._newest:
            self._take_request(number, fields, ends)
        elif any(first <= number <= last for first, last in self._skipped):
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, "a stream's number is lower than an earlier one's")
        else:
            raise ConnectionFaultError(http2.STREAM_CLOSED, "HEADERS came on a closed stream")

    def _take_request(self, number: int, fields: Fields, ends: bool) -> None:
        if number != self._newest + 2:
            self._skipped.append((self._newest + 2, number - 2))
        self._newest = number
        if number > self._last:  # 6.8: it was told that nobody looks at these
            self._put_reset(number, http2.REFUSED_STREAM, remembered=not ends)
            return
        if len(self.streams) >= self.limits.streams or self.unsent_bytes > self.limits.unsent_bytes:  # 5.1.2
            self._put_reset(number, http2.REFUSED_STREAM, remembered=not ends)
            self._pay_reset()
            return
        self._taken = number
        stream = Stream(number, self._peer_window, self._window)
        stream.answered = True
        self.streams[number] = stream
        if not fields.is_too_large:
            if fields.kind != REQUEST or fields.malformed:
                raise _StreamFaultError(http2.PROTOCOL_ERROR, fields.malformed or "HEADERS are no request")
            stream.expected = fields.content_length
        if ends:
            self._end_remote(stream)
        self._events.append(HeadersReceived(stream, fields, ends))

    def _take_response(self, stream: Stream, fields: Fields, ends: bool) -> None:
        if not fields.is_too_large:
            if fields.kind != RESPONSE or fields.malformed:
                raise _StreamFaultError(http2.PROTOCOL_ERROR, fields.malformed or "HEADERS are no response")
            status = fields[b":status"]
            if status[:1] == b"1":
                if ends or status == b"101":  # 8.1, 8.6
                    raise _StreamFaultError(http2.PROTOCOL_ERROR, "an interim response ends the stream, or is a 101")
                self._pay(1)
                return
            if not ends:
                stream.expected = fields.content_length
        stream.answered = True
        if ends:
            self._end_remote(stream)
        self._events.append(HeadersReceived(stream, fields, ends))

    def _take_trailers(self, stream: Stream, fields: Fields, ends: bool) -> None:
        if not ends:  # 8.1
            raise _StreamFaultError(http2.PROTOCOL_ERROR, "HEADERS after the first do not end the stream")
        if not fields.is_too_large and (fields.kind != TRAILERS or fields.malformed):
            raise _StreamFaultError(http2.PROTOCOL_ERROR, fields.malformed or "trailers have a pseudo-header field")
        self._end_remote(stream)
        last = self._events[-1] if self._events else None
        if type(last) is HeadersReceived and last.stream is stream:
            last.trailers, last.ends = fields, True
        else:
            self._events.append(TrailersReceived(stream, fields))

    def _take_other(self, kind: int, flags: int, number: int, payload: Buffer, size: int) -> None:
        if not self.settled and kind != http2.SETTINGS:
            raise _no_settings()
        self._ends = False
        take = self._take.get(kind)
        if take is not None:
            take(flags, number, payload, size)
        elif kind <= http2.CONTINUATION:
            # 6.10: CONTINUATION follows HEADERS; 8.4: neither end lets the other push
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, f"a frame of type {kind} came where none may")
        else:
            self._pay(1)  # 4.1: unknown types are passed over

    def _take_reset(self, _: int, number: int, payload: Buffer, __: int) -> None:
        stream = self.streams.get(number)
        if stream is None:
            self._check_not_idle(number)
            self._reset_here.pop(number, None)
            self._pay(1)
            return
        self._forget(stream)
        self._events.append(StreamReset(stream, http2.number_in(payload)))
        if not self._client:
            self._pay_reset()

    def _take_settings(self, flags: int, number: int, payload: Buffer, _: int) -> None:
        if number:
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, "SETTINGS came on a stream")
        if flags & http2.ACK:
            if not self.settled:
                raise _no_settings()
            self._pay(1)
            return
        self._pay(SETTINGS_COST)
        for setting, value in http2.settings_in(payload):
            if setting == http2.HEADER_TABLE_SIZE:
                self._writer.limit(value)
            elif setting == http2.MAX_FRAME_SIZE:
                self._frame = value
            elif setting == http2.MAX_CONCURRENT_STREAMS:
                self.peer_streams = value
            elif setting == http2.INITIAL_WINDOW_SIZE:
                self._change_windows(value)
            elif setting == http2.ENABLE_PUSH and value and self._client:  # 6.5.2: a server may not say so
                raise ConnectionFaultError(http2.PROTOCOL_ERROR, "a server sent SETTINGS_ENABLE_PUSH of 1")
        self.settled = True
        self._out.append(http2.frame(http2.SETTINGS, http2.ACK, 0))
        self._resume()
        self._events.append(SettingsReceived())

    def _change_windows(self, window: int) -> None:
        """6.9.2: what is open already changes by the difference, and may become negative."""
        grown, self._peer_window = window - self._peer_window, window
        for stream in self.streams.values():
            stream.send_window += grown
            if stream.send_window > http2.LARGEST_WINDOW:
                raise ConnectionFaultError(
                    http2.FLOW_CONTROL_ERROR, "SETTINGS make a stream's window larger than 2^31-1"
                )

    def _take_ping(self, flags: int, number: int, payload: Buffer, _: int) -> None:
        if number:
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, "PING came on a stream")
        self._pay(1)
        if flags & http2.ACK:
            self._events.append(PingAnswered(bytes(payload)))
        else:
            self._out.append(http2.frame(http2.PING, http2.ACK, 0, bytes(payload)))

    def _take_goaway(self, _: int, number: int, payload: Buffer, __: int) -> None:
        if number:
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, "GOAWAY came on a stream")
        self._pay(1)
        self.peer_goes = True
        last = http2.number_in(payload) & http2.LAST_STREAM
        refused = [stream for stream in self.streams.values() if stream.number > last] if self._client else []
        for stream in refused:
            self._forget(stream)
            self._reset_here[stream.number] = None
        self._events.append(GoAwayReceived(last, http2.number_in(payload, 4), refused))

    def _take_window_update(self, _: int, number: int, payload: Buffer, __: int) -> None:
        grown = int.from_bytes(payload, "big") & http2.LARGEST_WINDOW
        if not self._idle_frames.take():
            raise _too_many_idle_frames()
        if not number:
            if not grown:
                raise ConnectionFaultError(http2.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._send_window += grown
            if self._send_window > http2.LARGEST_WINDOW:  # 6.9.1
                raise ConnectionFaultError(http2.FLOW_CONTROL_ERROR, "the connection's window is larger than 2^31-1")
        else:
            stream = self.streams.get(number)
            if stream is None:
                self._check_not_idle(number)
                return
            if not grown:
                raise _StreamFaultError(http2.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            stream.send_window += grown
            if stream.send_window > http2.LARGEST_WINDOW:
                raise _StreamFaultError(http2.FLOW_CONTROL_ERROR, "the stream's window is larger than 2^31-1")
            if not stream.unsent:
                return
        if self._blocked:
            self._resume()

    def _take_priority(self, _: int, number: int, __: Buffer, size: int) -> None:
        """Priorities are deprecated (5.3.2); a frame of them can still be wrong (6.3)."""
        if not number:
            raise ConnectionFaultError(http2.PROTOCOL_ERROR, "PRIORITY came on stream 0")
        self._pay(1)
        if size != 5:
            if number not in self.streams:
                raise ConnectionFaultError(http2.FRAME_SIZE_ERROR, "PRIORITY has not five bytes")
            raise _StreamFaultError(http2.FRAME_SIZE_ERROR, "PRIORITY has not five bytes")

    def _check_not_idle(self, number: int) -> None:
        """5.1: on a stream that nobody has opened, only HEADERS and PRIORITY may come."""
        if not number & 1 or number > self._newest:
            raise ConnectionFaultError(
                http2.PROTOCOL_ERROR, f"a frame came on stream {number}, which nobody has opened"
            )

    # faults

    def _pay(self, count: int) -> None:
        if not self._idle_frames.take(count):
            raise _too_many_idle_frames()

    def _pay_reset(self) -> None:
        if not self._resets.take():
            raise ConnectionFaultError(http2.ENHANCE_YOUR_CALM, "too many streams were opened for nothing")

    def _pay_fault(self) -> None:
        if not self._faults.take():
            raise ConnectionFaultError(http2.ENHANCE_YOUR_CALM, "too many streams had to be reset")

    def _fail_stream(self, number: int, fault: _StreamFaultError) -> None:
        self._pay_fault()
        stream = self.streams.get(number)
        ended = stream is None or stream.remote_ended or self._ends or self._frames.ends_stream
        self._put_reset(number, fault.code, remembered=not ended)
        if stream is not None:
            self._forget(stream)
            self._events.append(StreamReset(stream, fault.code, fault.text))

    def _fail(self, fault: ConnectionFaultError) -> None:
        self.failed, self.is_behind = True, False
        if not self.not_http2:
            last = min(self._last, self._taken)
            payload = http2.number(last) + http2.number(fault.code) + fault.text.encode()
            self._out.append(http2.frame(http2.GOAWAY, 0, 0, payload))
        self._events.append(ConnectionFailed(fault.code, fault.text, self.abandon()))


def _too_many_idle_frames() -> ConnectionFaultError:
    return ConnectionFaultError(http2.ENHANCE_YOUR_CALM, "too many frames bring nothing forward")


def _no_settings() -> ConnectionFaultError:
    return ConnectionFaultError(http2.PROTOCOL_ERROR, "the first frame is no SETTINGS")
