"""The end-to-end load generator's loop: one thread, epoll, a timerfd; REST in, every reply checked.

Open loop: a request is sent at its planned time on a free connection, or waits for one; its latency counts from the
plan either way. Closed loop: every connection sends its next request when the last is answered.
"""

from __future__ import annotations

import gc
import select
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crossover.comparison.load import outcomes as out
from crossover.comparison.load.http1 import Connection, Reply
from crossover.comparison.load.timer import Timer
from crossover.protocol import timeline
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.errors import InferenceError
from crossover.protocol.timeline import Timeline

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crossover.comparison.experiment.schedule import Schedule
    from crossover.comparison.load.outcomes import Output, Record

_SETTLE_NS = 3_000_000
_SPIN_NS = 250_000
"""The last stretch before a planned time is spent polling: an idle virtual CPU takes some 0.2 ms to wake up."""
_PATIENCE_NS = 15_000_000_000
"""How long after the last planned time answers are waited for."""


@dataclass(slots=True)
class Work:
    """What a slice sends and expects."""

    address: tuple[str, int]
    requests: list[bytes]
    """The whole HTTP request of each payload variant."""
    expected: list[tuple[Output, ...]]
    schedule: Schedule
    concurrency: int
    upstream: str | None = None
    """What the reply's `Inference-Upstream` must say; None: not looked at."""
    stages: bool = False
    """The requests ask for the stations' stamps, which are to be kept."""
    tolerance: float = 0.0
    """Relative difference from the expected floats that passes; 0: bit for bit."""


@dataclass(slots=True)
class Checker:
    """Compares replies with the expected answer: decodes a body once, and from then on compares its bytes."""

    expected: list[tuple[Output, ...]]
    upstream: str | None
    tolerance: float = 0.0
    complaint: str = ""
    _known: dict[int, bytes] = field(default_factory=dict)

    def outcome(self, reply: Reply, variant: int) -> int:
        if reply.status != 200:
            return self._complain(
                out.ERROR, f"HTTP {reply.status}: {bytes(reply.body[:300]).decode('utf-8', 'replace')}"
            )
        if self.upstream is not None and (went := reply.header(b"inference-upstream")) != self.upstream:
            return self._complain(out.ERROR, f"the answer came over '{went}', not over '{self.upstream}'")
        if reply.body == self._known.get(variant):  # type: ignore[comparison-overlap]  # memoryview compares with bytes
            return out.OK
        return self._decoded(reply, variant)

    def _decoded(self, reply: Reply, variant: int) -> int:
        try:
            length = binary_codec.header_length(reply.header(b"inference-header-content-length"), len(reply.body))
            response = binary_codec.decode_response(reply.body, length)
            wrong = out.difference(response, self.expected[variant], self.tolerance)
        except InferenceError as error:
            wrong = error.message
        if wrong:
            return self._complain(out.WRONG, wrong)
        self._known[variant] = bytes(reply.body)
        return out.OK

    def _complain(self, outcome: int, text: str) -> int:
        self.complaint = self.complaint or text
        return outcome


class Driver:
    """Connections that live across slices of one service, and the loop that drives them."""

    apart = True

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._timer = Timer()
        self._poll.register(self._timer.fd, select.EPOLLIN)
        self._idle: list[Connection] = []
        self._address: tuple[str, int] | None = None

    def run(self, work: Work) -> Record:
        """Drive one slice to its end and record every request."""
        if work.address != self._address:
            self.close_connections()
            self._address = work.address
        gc.collect()
        gc.disable()
        cpu, wall = time.process_time_ns(), time.monotonic_ns()
        try:
            slice_ = _Slice(work, self._poll, self._timer, self._idle)
            table = slice_.run()
        finally:
            gc.enable()
        return out.Record(
            table,
            time.process_time_ns() - cpu,
            time.monotonic_ns() - wall,
            slice_.checker.complaint or slice_.lost,
            slice_.stages,
        )

    def close_connections(self) -> None:
        for connection in self._idle:
            self._poll.unregister(connection.fd)
            connection.close()
        self._idle.clear()

    def close(self) -> None:
        self.close_connections()
        self._timer.close()
        self._poll.close()


class _Slice:
    """The state of one slice."""

    def __init__(self, work: Work, poll: select.epoll, timer: Timer, idle: list[Connection]) -> None:
        self.work, self.poll, self.timer, self.idle = work, poll, timer, idle
        self.checker = Checker(work.expected, work.upstream, work.tolerance)
        self.table = out.empty(work.schedule.count)
        self.busy: dict[int, tuple[Connection, int]] = {}
        self.due: deque[int] = deque()
        self.next = self.finished = 0
        self.lost = ""
        self.stages: list[dict[str, int]] = []

    def run(self) -> NDArray[np.int64]:
        for fd, _ in self.poll.poll(0):
            self._closed_while_idle(fd)
        start = time.monotonic_ns() + _SETTLE_NS
        offsets = self.work.schedule.offsets_ns
        planned = None if offsets is None else (offsets + start).tolist()
        self._loop(planned, (planned[-1] if planned else start) + _PATIENCE_NS)
        for connection, _ in self.busy.values():
            self._drop(connection)
        return self.table

    def _loop(self, planned: list[int] | None, give_up: int) -> None:
        count = self.work.schedule.count
        while self.finished < count:
            now = time.monotonic_ns()
            self._wake(planned, now)
            while self.due and (connection := self._free_connection()):
                self._send(connection, self.due.popleft())
            for fd, _ in self.poll.poll(self._nap(planned)):
                if fd == self.timer.fd:
                    self.timer.clear()
                elif fd in self.busy:
                    self._serve(*self.busy[fd])
                else:
                    self._closed_while_idle(fd)
            if planned is None and self.finished:
                give_up = max(give_up, int(self.table[:, out.DONE].max()) + _PATIENCE_NS)
            if time.monotonic_ns() > give_up:
                return

    def _wake(self, planned: list[int] | None, now: int) -> None:
        """Note which requests are due: by the plan, or in the closed loop as many as there are free callers."""
        table, count = self.table, self.work.schedule.count
        if planned is None:
            while self.next < count and self.next - self.finished < self.work.concurrency:
                table[self.next, out.PLANNED] = table[self.next, out.WOKEN] = now
                self._due_next()
            return
        while self.next < count and planned[self.next] <= now:
            table[self.next, out.PLANNED], table[self.next, out.WOKEN] = planned[self.next], now
            self._due_next()
            now = time.monotonic_ns()

    def _nap(self, planned: list[int] | None) -> float:
        """How long to wait for events: none at all shortly before a planned time, else until then or an event."""
        if planned is not None and self.next < len(planned):
            early = planned[self.next] - _SPIN_NS
            if time.monotonic_ns() >= early:
                return 0.0
            self.timer.set(early)
        return 1.0

    def _due_next(self) -> None:
        self.due.append(self.next)
        self.next += 1

    def _free_connection(self) -> Connection | None:
        if self.idle:
            return self.idle.pop()
        if len(self.busy) >= self.work.concurrency:
            return None
        try:
            connection = Connection(self.work.address)
        except OSError as error:
            self._fail(self.due.popleft(), f"no connection to the service: {error.strerror or error}")
            return None
        self.poll.register(connection.fd, select.EPOLLIN)
        return connection

    def _send(self, connection: Connection, index: int) -> None:
        self.busy[connection.fd] = connection, index
        now = time.monotonic_ns()
        self.table[index, out.SENT] = now
        if self.work.schedule.offsets_ns is None:
            self.table[index, out.PLANNED] = self.table[index, out.WOKEN] = now
        try:
            if not connection.send(self.work.requests[self.work.schedule.variants[index]]):
                self.poll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)
        except OSError as error:
            self._break(connection, index, error)

    def _serve(self, connection: Connection, index: int) -> None:
        try:
            if connection.unsent and connection.flush():
                self.poll.modify(connection.fd, select.EPOLLIN)
            reply = connection.receive()
        except OSError as error:
            self._break(connection, index, error)
            return
        if reply is not None:
            self.table[index, out.DONE] = time.monotonic_ns()
            self.table[index, out.OUTCOME] = self.checker.outcome(reply, int(self.work.schedule.variants[index]))
            if self.work.stages:
                self._keep_stages(reply, index)
            del self.busy[connection.fd]
            self.idle.append(connection)
            self.finished += 1

    def _keep_stages(self, reply: Reply, index: int) -> None:
        stations = Timeline()
        stations.adopt(reply.header(timeline.HEADER.encode()) or "", prefix="")
        sent, done = (int(self.table[index, column]) for column in (out.SENT, out.DONE))
        self.stages.append({"client.sent": sent, **stations.stamps, "client.done": done})

    def _closed_while_idle(self, fd: int) -> None:
        """A service may close a connection that rests between slices; that is no failed request."""
        for connection in [idle for idle in self.idle if idle.fd == fd]:
            self.idle.remove(connection)
            self._drop(connection)

    def _break(self, connection: Connection, index: int, error: OSError) -> None:
        del self.busy[connection.fd]
        self._drop(connection)
        self._fail(index, str(error))

    def _fail(self, index: int, text: str) -> None:
        self.table[index, out.DONE] = time.monotonic_ns()
        self.table[index, out.OUTCOME] = out.BROKEN
        self.lost = self.lost or text
        self.finished += 1

    def _drop(self, connection: Connection) -> None:
        self.poll.unregister(connection.fd)
        connection.close()
