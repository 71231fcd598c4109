"""Several connections to one address, behind which several processes share a port (MODEL_SERVER_WORKERS).

The system gives each connection to one of them, by chance, and there it stays. So a client has as many connections (lanes) as
there are workers, asks on each which worker it has come to, and connects anew where two came to the same one.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from crossover.protocol.wires import UNIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crossover.clients.balancing.replica import Replica
    from crossover.clients.balancing.targets import Endpoint

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 10.0
"""Between two attempts of one lane to reach another worker."""
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


class Spread:
    """Says which lanes are to be connected anew."""

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._pauses: dict[Endpoint, float] = {}
        self._not_before: dict[Endpoint, float] = {}

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
                self._pauses.pop(endpoint, None)
            elif now >= self._not_before.get(endpoint, 0.0):
                pause = self._pauses.get(endpoint, FIRST_PAUSE_SECONDS)
                self._pauses[endpoint] = min(2 * pause, LONGEST_PAUSE_SECONDS)
                self._not_before[endpoint] = now + pause
                found.append(endpoint)
        return found
