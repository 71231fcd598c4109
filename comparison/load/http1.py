"""A lean HTTP/1.1 connection for the load generator: prepared bytes out, one reply in, no more parsing than needed."""

from __future__ import annotations

import socket
from dataclasses import dataclass

_CHUNK = 1 << 20


class BrokenConnectionError(OSError):
    """The service closed the connection or sent what is not HTTP/1.1 with a Content-Length."""


@dataclass(slots=True)
class Reply:
    """One answer."""

    status: int
    head: bytes
    """Everything before the body, as it came."""
    body: memoryview

    def header(self, name: bytes) -> str | None:
        """The value of the header `name` (in lower case), or None."""
        at = self.head.lower().find(b"\r\n" + name + b":")
        if at < 0:
            return None
        start = at + len(name) + 3
        end = self.head.find(b"\r\n", start)
        return self.head[start : end if end >= 0 else None].strip().decode("latin-1")


def request_bytes(method: str, path: str, host: str, headers: dict[str, str], body: bytes) -> bytes:
    """One request, head and body in one piece (so that one send carries a small one)."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """A keep-alive connection with at most one request under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._unsent = memoryview(b"")
        self._buffer = bytearray(_CHUNK)
        self._filled = 0
        self._body_at = 0
        self._end = 0

    @property
    def fd(self) -> int:
        return self._socket.fileno()

    @property
    def unsent(self) -> bool:
        return len(self._unsent) > 0

    def send(self, data: bytes) -> bool:
        """Begin a request; True when all of it went out, False when `flush` has to go on."""
        self._unsent = memoryview(data)
        self._filled = self._body_at = self._end = 0
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
                raise BrokenConnectionError("the service closed the connection")
            self._filled += count
            if self._is_complete():
                return self._reply()

    def _is_complete(self) -> bool:
        if not self._end:
            at = self._buffer.find(b"\r\n\r\n", 0, self._filled)
            if at < 0:
                return False
            self._body_at = at + 4
            self._end = self._body_at + self._content_length(bytes(self._buffer[:at]))
        return self._filled >= self._end

    @staticmethod
    def _content_length(head: bytes) -> int:
        text = Reply(0, head, memoryview(b"")).header(b"content-length")
        if text is None or not text.isdigit():
            raise BrokenConnectionError("the service answered without a Content-Length")
        return int(text)

    def _reply(self) -> Reply:
        head = bytes(self._buffer[: self._body_at - 4])
        return Reply(int(head[9:12]), head, memoryview(self._buffer)[self._body_at : self._end])

    def close(self) -> None:
        self._socket.close()
