"""A lean HTTP/1.1 connection for the load generator: prepared bytes out, one reply in, no more parsing than needed."""

from __future__ import annotations

from dataclasses import dataclass

from crossover.comparison.load import sockets
from crossover.comparison.load.sockets import Address

_CHUNK = 1 << 20
_NO_BODY = frozenset({204, 304})
_VERSION = b"HTTP/1."


class BrokenConnectionError(OSError):
    """The service closed the connection or sent what is not HTTP, in one sentence."""


@dataclass(slots=True)
class Reply:
    """One answer."""

    status: int
    head: bytes
    """Everything before the body, as it came."""
    body: memoryview | bytes
    pieces: tuple[tuple[int, int], ...] = ()
    """Where in what the connection received the body's parts begin and end."""

    def received(self, place: int) -> int:
        """How much the connection had received when the first `place` bytes of the body had come."""
        for start, end in self.pieces:
            if place <= end - start:
                return start + place
            place -= end - start
        return self.pieces[-1][1] if self.pieces else place

    def header(self, name: bytes) -> str | None:
        """The value of the header `name` (in lower case), or None."""
        at = self.head.lower().find(b"\r\n" + name + b":")
        if at < 0:
            return None
        start = at + len(name) + 3
        end = self.head.find(b"\r\n", start)
        return self.head[start : end if end >= 0 else None].strip().decode("latin-1")

    def kept(self) -> Reply:
        """The reply for later: its body is not the connection's buffer any more."""
        return Reply(self.status, self.head, bytes(self.body), self.pieces)


def request_bytes(method: str, path: str, host: str, headers: dict[str, str], body: bytes | None) -> bytes:
    """One request, head and body in one piece (so that one send carries a small one); without a body where it is None."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
    lines += [f"content-length: {len(body)}"] if body is not None else []
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


class Connection:
    """A keep-alive connection with at most one request under way; with `once` it takes one request at all."""

    def __init__(self, address: Address, timeout: float = 5.0, *, once: bool = False, resume: bool = False) -> None:
        """`resume`: its TLS session is that of the last such connection."""
        self._once = once
        self._socket = sockets.opened(address, timeout, resume=resume)
        self._socket.settimeout(0)
        self._unsent = memoryview(b"")
        self._buffer = bytearray(_CHUNK)
        self._filled = 0
        self._body_at = 0
        self._end: int | None = 0
        """Where the reply ends; 0: its head has not come, None: where its connection or its chunks do."""
        self._chunks: _Chunks | None = None
        self._bodiless = False
        self.reusable = True
        """Whether the connection takes another request after this one."""

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    @property
    def received(self) -> int:
        return self._filled

    @property
    def unsent(self) -> bool:
        return len(self._unsent) > 0

    def send(self, data: bytes) -> bool:
        """Begin a request; True when all of it went out, False when `flush` has to go on."""
        self._unsent = memoryview(data)
        self._filled = self._body_at = self._end = 0
        self._chunks, self._bodiless = None, data.startswith(b"HEAD ")
        return self.flush()

    def flush(self) -> bool:
        """Send what is left, as much as the socket takes; True when nothing is."""
        try:
            while len(self._unsent):
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        return True

    def receive(self) -> Reply | None:
        """Read what has come; the reply once it is complete."""
        while True:
            if self._filled == len(self._buffer):
                self._buffer.extend(bytes(len(self._buffer)))
            try:
                count = self._socket.recv_into(memoryview(self._buffer)[self._filled :])
            except BlockingIOError:
                return None
            if count == 0:
                return self._ended()
            self._filled += count
            if self._is_complete():
                return self._reply()

    def rests(self) -> bool:
        """Whether an idle connection that has become readable may be kept: TLS speaks at times when nobody asked."""
        try:
            return self._socket.recv_into(memoryview(self._buffer)) < 0
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _ended(self) -> Reply:
        if self._body_at and self._end is None and self._chunks is None:
            self._end, self.reusable = self._filled, False
            return self._reply()
        raise BrokenConnectionError("the service closed the connection")

    def _is_complete(self) -> bool:
        while self._end == 0:
            at = self._buffer.find(b"\r\n\r\n", 0, self._filled)
            if at < 0:
                _check_begins(bytes(self._buffer[: min(self._filled, len(_VERSION))]))
                return False
            self._body_at = at + 4
            self._read_head(bytes(self._buffer[:at]))
        if self._chunks is not None:
            return self._chunks.whole(self._buffer, self._filled)
        return self._end is not None and self._filled >= self._end

    def _read_head(self, head: bytes) -> None:
        """How the body ends (RFC 9112, 6.3)."""
        _check_begins(head[: len(_VERSION)])
        reply = Reply(_status(head), head, b"")
        if 100 <= reply.status < 200:
            del self._buffer[: self._body_at]
            self._filled -= self._body_at
            self._buffer.extend(bytes(self._body_at))
            return
        self.reusable = _stays(reply) and not self._once
        length = reply.header(b"content-length")
        if self._bodiless or reply.status in _NO_BODY:
            self._end = self._body_at
        elif (reply.header(b"transfer-encoding") or "").lower().endswith("chunked"):
            self._end, self._chunks = None, _Chunks(self._body_at)
        elif length is None:
            self._end = None
        elif not length.isdecimal():
            raise BrokenConnectionError(f"the service answered with Content-Length '{length[:40]}'")
        else:
            self._end = self._body_at + int(length)

    def _reply(self) -> Reply:
        head = bytes(self._buffer[: self._body_at - 4])
        if self._chunks is not None:
            return Reply(_status(head), head, self._chunks.body(self._buffer), tuple(self._chunks.pieces))
        whole = ((self._body_at, self._end or self._filled),)
        return Reply(_status(head), head, memoryview(self._buffer)[self._body_at : self._end], whole)

    def close(self) -> None:
        self._socket.close()


def _check_begins(came: bytes) -> None:
    """BrokenConnectionError for a reply that is no HTTP/1.x, as soon as that is seen."""
    if not _VERSION.startswith(came):
        raise BrokenConnectionError("the service does not answer in HTTP/1.1")


def _status(head: bytes) -> int:
    text = head[9:12]
    if not text.isdigit():
        raise BrokenConnectionError("the service's status line has no status")
    return int(text)


def _stays(reply: Reply) -> bool:
    said = (reply.header(b"connection") or "").lower()
    return "keep-alive" in said if reply.head.startswith(b"HTTP/1.0") else "close" not in said


class _Chunks:
    """The chunks of a body (RFC 9112, 7.1), found as they come."""

    def __init__(self, start: int) -> None:
        self._at = start
        """Where the next chunk's size begins."""
        self.pieces: list[tuple[int, int]] = []
        self._last = False

    def whole(self, buffer: bytearray, filled: int) -> bool:
        """Whether the last chunk and the trailer section have come."""
        while True:
            end = buffer.find(b"\r\n", self._at, filled)
            if end < 0:
                return False
            if self._last:
                if end == self._at:
                    return True
                self._at = end + 2
                continue
            size = self._size(bytes(buffer[self._at : end]))
            if size and end + 2 + size + 2 > filled:
                return False
            self.pieces.append((end + 2, end + 2 + size))
            self._last = not size
            self._at = end + 2 + (size + 2 if size else 0)

    @staticmethod
    def _size(line: bytes) -> int:
        try:
            return int(line.partition(b";")[0], 16)
        except ValueError:
            raise BrokenConnectionError("the service sent a chunk without a size") from None

    def body(self, buffer: bytearray) -> bytes:
        return b"".join([buffer[start:end] for start, end in self.pieces])
