"""Several connections to one address, behind which several processes share a port (MODEL_SERVER_WORKERS).

The system gives each connection to one of them, by chance, and there it stays. So a client has as many connections (lanes) as
there are workers, asks on each which worker it has come to, and connects anew at once where two came to the same one.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crossover.protocol.wires import UNIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crossover.clients.balancing.replica import Replica
    from crossover.clients.balancing.targets import Endpoint

TRIES_EACH = 4
"""Connections in a row in search of a worker, for each worker that there is: two workers are both met but once in 256 times."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 8.0
"""After such a series that was in vain: the worker may be starting. One that never comes costs little."""
_EXTENSION = re.compile(r"worker_(\d{1,3})_of_(\d{1,3})")


def extension(index: int, count: int) -> str:
    """What a worker adds to the extensions of its server metadata."""
    return f"worker_{index}_of_{count}"


def worker_of(extensions: Iterable[str]) -> tuple[int, int] | None:
    """The worker that answered and how many there are; None for a server of one process."""
    found = next(filter(None, map(_EXTENSION.fullmatch, extensions)), None)
    return (int(found[1]), max(1, int(found[2]))) if found else None


def laned(endpoints: list[Endpoint], lanes: int) -> list[Endpoint]:
    """Each address so many times; a Unix socket is one process's."""
    return [
        replace(endpoint, lane=lane)
        for endpoint in endpoints
        for lane in range(1 if endpoint.address.startswith(UNIX) else lanes)
    ]


@dataclass(slots=True)
class _Search:
    """A lane that looks for a worker of its own."""

    tries: int = 0
    """Of this series."""
    pause: float = FIRST_PAUSE_SECONDS
    not_before: float = 0.0

    def may_try(self, now: float, series: int) -> bool:
        """Whether to connect anew now; each series of so many is followed by a pause."""
        if now < self.not_before:
            return False
        self.tries += 1
        if self.tries == series:
            self.tries, self.not_before = 0, now + self.pause
            self.pause = min(2 * self.pause, LONGEST_PAUSE_SECONDS)
        return True


class Spread:
    """Says which lanes are to be connected anew."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._searches: dict[Endpoint, _Search] = {}

    def surplus(self, replicas: Mapping[Endpoint, Replica]) -> list[Endpoint]:
        """Lanes that share a worker with more others than they have to."""
        reached: Counter[tuple[str, int]] = Counter()
        found: list[Endpoint] = []
        now = time.monotonic()
        for endpoint, replica in replicas.items():
            if replica.worker is None or not replica.usable:
                continue
            index, count = replica.worker
            reached[endpoint.address, index] += 1
            if reached[endpoint.address, index] <= -(-self._lanes // count):
                self._searches.pop(endpoint, None)
            elif self._searches.setdefault(endpoint, _Search()).may_try(now, TRIES_EACH * count):
                found.append(endpoint)
        return found
