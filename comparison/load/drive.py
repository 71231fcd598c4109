"""The load generator's loop: one thread, epoll, a timerfd; prepared bytes out, every reply checked.

What it sends, over which connections, and which replies are right is the business of a `Load`: our own services' (`Work`,
here), or anybody's two (comparison/pair/exchange.py).

Open loop: a request is sent at its planned time on a free connection, or waits for one; its latency counts from the
plan either way. Closed loop: every connection sends its next request when the last is answered.
"""

from __future__ import annotations

import gc
import select
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from crossover.comparison.design import outcomes as out
from crossover.comparison.load import http1
from crossover.comparison.load.http1 import Reply
from crossover.comparison.load.sockets import Address, Tls
from crossover.comparison.load.timer import Timer
from crossover.protocol import timeline
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.errors import InferenceError
from crossover.protocol.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from crossover.comparison.design.outcomes import Output, Record
    from crossover.comparison.design.schedule import Schedule

_SETTLE_NS = 3_000_000
_SPIN_NS = 250_000
"""The last stretch before a planned time is spent polling: an idle virtual CPU takes some 0.2 ms to wake up."""
_PATIENCE_NS = 15_000_000_000
"""How long after the last planned time answers are waited for."""


class Connection(Protocol):
    """A connection with at most one request under way."""

    reusable: bool

    @property
    def fd(self) -> int: ...

    @property
    def received(self) -> int:
        """Bytes of the reply that have come, as far as the reply's own `received` counts them."""
        ...

    @property
    def unsent(self) -> bool: ...

    def send(self, data: Any, /) -> bool: ...

    def flush(self) -> bool: ...

    def receive(self) -> Any | None: ...

    def rests(self) -> bool:
        """Whether it may be kept although it became readable while it was idle."""
        ...

    def close(self) -> None: ...


class Load(Protocol):
    """What one slice sends and expects."""

    schedule: Schedule
    concurrency: int
    stages: bool

    @property
    def streams(self) -> bool:
        """Whether replies are streams, of whose messages the times are wanted."""
        ...

    @property
    def pool(self) -> Hashable:
        """Slices of the same pool share connections."""
        ...

    @property
    def patience_ns(self) -> int:
        """How long after the last planned time answers are waited for."""
        ...

    def connect(self) -> Connection: ...

    def talk(self) -> Talk:
        """What is done for each request and reply of the slice."""
        ...


class Talk(Protocol):
    """The requests and replies of one slice."""

    complaint: str
    deferred: bool
    """Replies are judged after the slice, not as they come."""
    spent_ns: int
    """CPU time of encoding and decoding within the requests' own time; 0 where none was done."""

    def request(self, variant: int) -> Any:
        """What the connection is to send."""
        ...

    def arrived(self, reply: Any) -> None:
        """Called with a complete reply before its time is taken."""
        ...

    def outcome(self, reply: Any, variant: int) -> int: ...

    def progress(self, reply: Any, marks: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
        """Of a stream: when its first and its last message had come, and how many there were."""
        ...


@dataclass(slots=True)
class Work:
    """What a slice sends to our own services and expects of them."""

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
    tls: Tls | None = None
    tolerance: float = 0.0
    """Relative difference from the expected floats that passes; 0: bit for bit."""

    @property
    def streams(self) -> bool:
        return False

    @property
    def pool(self) -> Hashable:
        return self.address, self.tls

    @property
    def patience_ns(self) -> int:
        return _PATIENCE_NS

    def connect(self) -> Connection:
        return http1.Connection(Address(*self.address, tls=self.tls))

    def talk(self) -> Checker:
        return Checker(self.expected, self.upstream, self.tolerance, self.requests)


@dataclass(slots=True)
class Checker:
    """Compares replies with the expected answer: decodes a body once, and from then on compares its bytes."""

    expected: list[tuple[Output, ...]]
    upstream: str | None
    tolerance: float = 0.0
    requests: list[bytes] = field(default_factory=list)
    complaint: str = ""
    deferred: bool = False
    spent_ns: int = 0
    _known: dict[int, bytes] = field(default_factory=dict)

    def request(self, variant: int) -> bytes:
        return self.requests[variant]

    def arrived(self, reply: Reply) -> None:
        """Nothing is done with it before its time is taken."""

    def outcome(self, reply: Reply, variant: int) -> int:
        if reply.status != 200:
            return self._complain(
                out.ERROR, f"HTTP {reply.status}: {bytes(reply.body[:300]).decode('utf-8', 'replace')}"
            )
        if self.upstream is not None and (went := reply.header(b"inference-upstream")) != self.upstream:
            return self._complain(out.ERROR, f"the answer came over '{went}', not over '{self.upstream}'")
        if reply.body == self._known.get(variant):
            return out.OK
        return self._decoded(reply, variant)

    def progress(self, reply: Reply, marks: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
        raise NotImplementedError  # our own services' replies are no streams

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
    """Connections that live across slices, in one pool for each service, and the loop that drives them."""

    apart = True

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._timer = Timer()
        self._poll.register(self._timer.fd, select.EPOLLIN)
        self._pools: dict[Hashable, list[Connection]] = {}

    def run(self, work: Load) -> Record:
        """Drive one slice to its end and record every request."""
        idle = self._pools.setdefault(work.pool, [])
        self._opened(work, idle)
        gc.collect()
        gc.disable()
        try:
            slice_ = _Slice(work, self._poll, self._timer, idle, self._pools)
            cpu, wall = time.process_time_ns(), time.monotonic_ns()
            table = slice_.run()
            spent, took = time.process_time_ns() - cpu, time.monotonic_ns() - wall
            slice_.judge()
        finally:
            gc.enable()
        return out.Record(
            table, spent, took, slice_.talk.complaint or slice_.lost, slice_.stages, slice_.talk.spent_ns, slice_.opened
        )

    def _opened(self, work: Load, idle: list[Connection]) -> None:
        """Nothing is opened beforehand: a connection is made when a request finds none free."""

    def close_connections(self) -> None:
        for connection in [connection for idle in self._pools.values() for connection in idle]:
            self._poll.unregister(connection.fd)
            connection.close()
        self._pools.clear()

    def close(self) -> None:
        self.close_connections()
        self._timer.close()
        self._poll.close()


class _Slice:
    """The state of one slice."""

    def __init__(
        self,
        work: Load,
        poll: select.epoll,
        timer: Timer,
        idle: list[Connection],
        pools: dict[Hashable, list[Connection]],
    ) -> None:
        self.work, self.poll, self.timer, self.idle, self.pools = work, poll, timer, idle, pools
        self.talk = work.talk()
        self.table = out.empty(work.schedule.count, out.MESSAGES + 1 if work.streams else out.FIRST)
        self.busy: dict[int, tuple[Connection, int]] = {}
        self.due: deque[int] = deque()
        self.replies: list[tuple[int, Any]] = []
        """Replies that are judged after the slice."""
        self.marks: dict[int, list[tuple[int, int]]] = {}
        """By request, where its reply is a stream: moments, and how many bytes had come by each."""
        self.next = self.finished = 0
        self.opened = 0
        """Connections that were opened within the slice."""
        self.lost = ""
        self.stages: list[dict[str, int]] = []

    def run(self) -> NDArray[np.int64]:
        for fd, _ in self.poll.poll(0):
            self._stirred_while_idle(fd)
        start = self.work.schedule.start_ns or time.monotonic_ns() + _SETTLE_NS
        offsets = self.work.schedule.offsets_ns
        planned = None if offsets is None else (offsets + start).tolist()
        self._loop(planned, (planned[-1] if planned else start) + self.work.patience_ns)
        for connection, _ in self.busy.values():
            self._drop(connection)
        return self.table

    def judge(self) -> None:
        """The outcome of every reply that was only kept while time counted."""
        for index, reply in self.replies:
            try:
                outcome = self.talk.outcome(reply, int(self.work.schedule.variants[index]))
            except OSError as error:
                outcome, self.lost = out.BROKEN, self.lost or str(error)
            self.table[index, out.OUTCOME] = outcome
            if self.work.streams and outcome == out.OK:
                self.table[index, out.FIRST :] = self.talk.progress(reply, self.marks[index])

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
                    self._stirred_while_idle(fd)
            if planned is None and self.finished:
                give_up = max(give_up, int(self.table[:, out.DONE].max()) + self.work.patience_ns)
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
            connection = self.work.connect()
        except OSError as error:
            self._fail(self.due.popleft(), f"no connection to the service: {error.strerror or error}")
            return None
        self.opened += 1
        self.poll.register(connection.fd, select.EPOLLIN)
        return connection

    def _send(self, connection: Connection, index: int) -> None:
        self.busy[connection.fd] = connection, index
        now = time.monotonic_ns()
        self.table[index, out.SENT] = now
        if self.work.schedule.offsets_ns is None:
            self.table[index, out.PLANNED] = self.table[index, out.WOKEN] = now
        try:
            if not connection.send(self.talk.request(int(self.work.schedule.variants[index]))):
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
        if connection.unsent:
            self.poll.modify(connection.fd, select.EPOLLIN | select.EPOLLOUT)
        if self.work.streams:
            self.marks.setdefault(index, []).append((time.monotonic_ns(), connection.received))
        if reply is not None:
            self.talk.arrived(reply)
            self.table[index, out.DONE] = time.monotonic_ns()
            if self.talk.deferred:
                self.replies.append((index, reply.kept()))
            else:
                self.table[index, out.OUTCOME] = self.talk.outcome(reply, int(self.work.schedule.variants[index]))
            if self.work.stages:
                self._keep_stages(reply, index)
            self._release(connection)
            self.finished += 1

    def _release(self, connection: Connection) -> None:
        del self.busy[connection.fd]
        if connection.reusable:
            self.idle.append(connection)
        else:
            self._drop(connection)

    def _keep_stages(self, reply: Reply, index: int) -> None:
        stations = Timeline()
        stations.adopt(reply.header(timeline.HEADER.encode()) or "", prefix="")
        sent, done = (int(self.table[index, column]) for column in (out.SENT, out.DONE))
        self.stages.append({"client.sent": sent, **stations.stamps, "client.done": done})

    def _stirred_while_idle(self, fd: int) -> None:
        """A service may close a connection that rests between slices; that is no failed request."""
        for idle in self.pools.values():
            for connection in [resting for resting in idle if resting.fd == fd and not resting.rests()]:
                idle.remove(connection)
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
