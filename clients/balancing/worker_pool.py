"""HTTP connections to an address behind which several processes share a port: calls are spread over the processes.

A new connection comes to a process by chance, and there it stays. So each is asked which process it has come to before it is
used, and each call goes to the process that has the fewest of this pool's calls under way, those alike in their turn.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from crossover.clients.balancing.lanes import worker_of
from crossover.protocol import deadline
from crossover.protocol.codecs.json.text import loads
from crossover.protocol.errors import InferenceError, unreached
from crossover.transport.http1.client import HttpPool

if TYPE_CHECKING:
    from crossover.protocol.tensors import Buffer
    from crossover.transport.http1.client_connection import ClientConnection, HttpReply

ANSWER_SECONDS = 1.0
"""A process that does not say who it is for so long is stopped, or stuck."""
PAUSE_SECONDS = 0.1
"""Between two new connections in search of a process, after a series of them has not found it: it may be starting."""
_TRIES_EACH = 4
"""Length of that series, for each process."""


class WorkerPool(HttpPool):
    """A pool whose `workers` processes each have connections of their own, as far as chance allows."""

    def __init__(
        self,
        base_url: str,
        workers: int,
        key: Callable[[], Sequence[tuple[str, str]]],
        connections: int,
        **options: Any,
    ) -> None:
        """`key`: what a request must show to be answered; the rest as `HttpPool`'s."""
        super().__init__(base_url, connections=connections, **options)
        self._workers = workers
        self._key = key
        self._most = connections
        self._reached: WeakKeyDictionary[ClientConnection, int] = WeakKeyDictionary()
        self._under_way: Counter[int] = Counter()
        self._turns: Counter[int] = Counter()
        self._turn = 0
        self._wanted = 0
        self._misses = 0
        self._search_after = 0.0

    def _take_idle(self, now: float) -> ClientConnection | None:
        self._turn += 1
        self._wanted = min(range(self._workers), key=self._rank)
        idle = [each for each in self._idle if each.usable and each.is_fresh(now)]
        best = min(reversed(idle), key=lambda each: self._rank(self._reached.get(each, self._wanted)), default=None)
        if best is None or (self._reached.get(best, self._wanted) != self._wanted and self._may_search(now)):
            return None
        self._idle.remove(best)
        return best

    def _rank(self, worker: int) -> tuple[int, int]:
        return self._under_way[worker], self._turns[worker]

    def _may_search(self, now: float) -> bool:
        """Whether one more connection may be opened although others are idle."""
        if len(self._idle) + self._under_way.total() >= self._most:
            return False
        return self._misses < _TRIES_EACH * self._workers or now >= self._search_after

    async def _connect(self, until: float) -> ClientConnection:
        wanted = self._wanted
        connection = await super()._connect(until)
        try:
            said = await self._ask(connection, until)
        except InferenceError as error:
            connection.abort()
            deadline.check(until, f"while {self.origin.url} was being connected to")
            self._missed(ANSWER_SECONDS)
            raise unreached(f"{self.origin.url} does not answer on a new connection: {error.message}") from None
        if not connection.usable:  # whoever is leaving ends each connection with its first reply
            return await super()._connect(until)
        if said is not None:
            index, self._workers = said
            self._reached[connection] = index
            if index == wanted:
                self._misses = 0
            else:
                self._missed(PAUSE_SECONDS)
        return connection

    def _missed(self, pause: float) -> None:
        self._misses += 1
        self._search_after = time.monotonic() + pause

    async def _ask(self, connection: ClientConnection, until: float) -> tuple[int, int] | None:
        """Which process it has come to, and of how many; None where that is not said."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in self._key()])
        head = f"GET {self.origin.prefix}/v2{self._head}{lines}content-length: 0\r\n\r\n"
        reply = await connection.exchange(
            head.encode("latin-1", "replace"), (), 0, min(until, deadline.after(ANSWER_SECONDS))
        )
        if reply.status != 200:
            return None
        document = loads(reply.body)
        extensions = document.get("extensions") if isinstance(document, dict) else None
        return worker_of(each for each in extensions or () if isinstance(each, str))

    async def _exchange(
        self, connection: ClientConnection, head: bytes, parts: Sequence[Buffer], size: int, until: float
    ) -> HttpReply:
        worker = self._reached.get(connection)
        if worker is None:
            return await super()._exchange(connection, head, parts, size, until)
        self._turns[worker] = self._turn
        self._under_way[worker] += 1
        try:
            return await super()._exchange(connection, head, parts, size, until)
        finally:
            self._under_way[worker] -= 1
