"""A worker's place among the others, and its share of the service's limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crossover.service import log
from crossover.transport.connection_age import ConnectionAge

if TYPE_CHECKING:
    from pathlib import Path

    from crossover.service.metrics import Observer
    from crossover.service.settings import ServiceSettings
    from crossover.service.workers.scrape import Scrape
    from crossover.transport.http1.limits import Http1Limits

HTTP_AGE_SECONDS = 30.0
"""Age of HTTP connections to a worker, where no setting gives one. A connection stays with its worker; so the one that took
a dead one's place has its share after this time. To a client it is one more connection in half a minute."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One of several processes of a service."""

    index: int
    """From 0; the one that takes a dead one's place has its index."""
    count: int
    folder: Path
    """The folder of the workers' sockets; only this user may enter it."""
    is_replacement: bool = False
    """It replaces a worker that died while the others serve: its ports open only when it is ready to answer."""

    def say(self, sentence: str) -> None:
        """Say why it cannot start, unless another one has said so: what all share stops all of them."""
        try:
            (self.folder / "refused").touch(exist_ok=self.is_replacement)
        except FileExistsError:
            return
        log.say(sentence)

    def announce(self) -> None:
        """Say that this worker is ready."""
        self._announced(self.index).touch()

    @property
    def all_were_ready(self) -> bool:
        """Whether every worker has been ready since the service's start; one that is replaced is not waited for again."""
        return all(self._announced(index).exists() for index in range(self.count))

    def _announced(self, index: int) -> Path:
        return self.folder / f"ready-{index}"

    @property
    def others(self) -> list[int]:
        return [index for index in range(self.count) if index != self.index]

    def socket(self, what: str, index: int | None = None) -> Path:
        """The Unix socket on which a worker, this one where no index is given, answers for `what`."""
        return self.folder / f"{what}-{self.index if index is None else index}.sock"

    def share(self, total: int) -> int:
        """The worker's part of a number that all of them have together."""
        return total // self.count + (self.index < total % self.count)

    def portion(self, total: int, least: int = 1) -> int:
        """The same, rounded up, for a number that each worker needs some of: `least` or more; 0 stays 0."""
        return max(least, -(-total // self.count)) if total else 0


def http_limits(settings: ServiceSettings, worker: Worker | None) -> Http1Limits:
    """The limits of an HTTP port; see `HTTP_AGE_SECONDS`."""
    limits = settings.http_limits()
    if worker is None or limits.age.most != math.inf:
        return limits
    return replace(limits, age=ConnectionAge(HTTP_AGE_SECONDS))


def scrape_of(worker: Worker | None, observer: Observer) -> Scrape | None:
    """The `Scrape` that merges this worker's metrics with the others'; None for a service of one process."""
    if worker is None:
        return None
    from crossover.service.workers.scrape import Scrape

    scrape = Scrape(worker, observer.rendered)
    observer.whole = scrape.whole
    return scrape
