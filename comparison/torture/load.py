"""An open-loop load over HTTP/1.1: requests leave when they are due, whether earlier ones were answered or not.

A request's time counts from the moment it was due (no coordinated omission), and it is given up at its deadline, as a
caller would. What it spends is bounded: by the number of requests, and by the number of connections, beyond which a
request counts as not answered.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

OK, GIVEN_UP, BROKEN = 200, 0, -1
"""Statuses: of HTTP, or that no answer came in time, or that the connection broke."""
_SLACK_SECONDS = 0.25
"""How long after a deadline an answer is still read, so that a refusal in the last moment is seen as one."""
_LOOK_SECONDS = 0.05
_MOST_CONNECTIONS = 4000


@dataclass(frozen=True, slots=True)
class Stream:
    """Requests of one kind at a steady rate."""

    name: str
    rate: float
    """Requests a second."""
    request: bytes
    """A whole HTTP/1.1 request."""
    deadline: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request. Seconds on the monotonic clock."""

    due: float
    seconds: float
    """From when it was due to its answer, or to when it was given up."""
    status: int
    retry_after: float | None = None


@dataclass(slots=True)
class Summary:
    """What became of one stream."""

    seconds: float
    deadline: float
    answers: list[Answer] = field(default_factory=list)

    @property
    def statuses(self) -> dict[int, int]:
        return dict(sorted(Counter(answer.status for answer in self.answers).items()))

    @property
    def good(self) -> list[Answer]:
        """Right answers within the deadline."""
        return [answer for answer in self.answers if answer.status == OK and answer.seconds <= self.deadline]

    @property
    def goodput(self) -> float:
        """Right answers in time, a second."""
        return len(self.good) / self.seconds

    @property
    def share(self) -> float:
        """Of all requests, those that were answered right and in time."""
        return len(self.good) / max(1, len(self.answers))

    def percentile(self, percent: float) -> float:
        """Of the seconds that the requests with status 200 took; 0 when there are none."""
        taken = sorted(answer.seconds for answer in self.answers if answer.status == OK)
        return taken[min(len(taken) - 1, int(len(taken) * percent / 100))] if taken else 0.0


class _Connection:
    """A connection with at most one request under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=2)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.received = b""
        self.stream: Stream | None = None
        self.due = 0.0

    def send(self, stream: Stream, due: float) -> None:
        self.stream, self.due, self.received = stream, due, b""
        self.socket.send(stream.request)

    def reply(self) -> tuple[int, float | None] | None:
        """Status and Retry-After once the reply is complete; ConnectionError when it will not be."""
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return None
        if not data:
            raise ConnectionError
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found or len(body) < int(_header(head, b"content-length") or 0):
            return None
        retry_after = _header(head, b"retry-after")
        return int(head[9:12]), float(retry_after) if retry_after else None


def _header(head: bytes, name: bytes) -> str | None:
    _, found, rest = head.lower().partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0].decode() if found else None


class Load:
    """Several streams against one address for some seconds."""

    def __init__(self, address: tuple[str, int], streams: Sequence[Stream], seconds: float) -> None:
        self._address = address
        self._streams = streams
        self._seconds = seconds
        self._idle: list[_Connection] = []
        self._busy: dict[_Connection, None] = {}
        """In the order in which their requests were sent."""
        self._look_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._summaries = {stream.name: Summary(seconds, stream.deadline) for stream in streams}

    def run(self) -> dict[str, Summary]:
        """Send what is due when it is due, and wait for the last answers; by the stream's name."""
        began = time.monotonic()
        for offset, stream in _schedule(self._streams, self._seconds):
            self._listen_until(began + offset)
            self._send(stream, began + offset)
        while self._busy:
            self._listen_until(time.monotonic() + 0.02)
        for connection in self._idle:
            connection.socket.close()
        self._selector.close()
        return self._summaries

    def _listen_until(self, moment: float) -> None:
        while True:
            left = moment - time.monotonic()
            for key, _ in self._selector.select(max(0.0, left)):
                self._receive(key.data)
            self._give_up(time.monotonic())
            if left <= 0:
                return

    def _send(self, stream: Stream, due: float) -> None:
        try:
            if self._idle:
                connection = self._idle.pop()
            elif len(self._busy) >= _MOST_CONNECTIONS:
                raise ConnectionError
            else:
                connection = _Connection(self._address)
                self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(stream, due)
        except OSError:
            self._note(stream, due, BROKEN)
            return
        self._busy[connection] = None

    def _receive(self, connection: _Connection) -> None:
        try:
            reply = connection.reply()
        except (OSError, ValueError):
            self._end(connection, BROKEN)
            return
        if reply is not None and connection.stream is not None:
            self._note(connection.stream, connection.due, *reply)
            del self._busy[connection]
            connection.stream = None
            self._idle.append(connection)

    def _give_up(self, now: float) -> None:
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        late = [
            one for one in self._busy if one.stream is not None and now > one.due + one.stream.deadline + _SLACK_SECONDS
        ]
        for connection in late:
            self._end(connection, GIVEN_UP)

    def _end(self, connection: _Connection, status: int) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if connection.stream is None:  # closed while idle
            self._idle.remove(connection)
            return
        del self._busy[connection]
        self._note(connection.stream, connection.due, status)

    def _note(self, stream: Stream, due: float, status: int, retry_after: float | None = None) -> None:
        answer = Answer(due, time.monotonic() - due, status, retry_after)
        self._summaries[stream.name].answers.append(answer)


def _schedule(streams: Sequence[Stream], seconds: float) -> Iterator[tuple[float, Stream]]:
    """Every request of all streams in order of time, in seconds from the beginning."""

    def times(stream: Stream) -> Iterator[tuple[float, int, Stream]]:
        for number in range(int(stream.rate * seconds)):
            yield (number + 0.5) / stream.rate, streams.index(stream), stream

    for offset, _, stream in heapq.merge(*(times(stream) for stream in streams), key=lambda one: one[:2]):
        yield offset, stream
