"""One call as the metrics see it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossover.protocol.errors import Code
    from crossover.service.metrics import Observer


class RequestMetrics:
    """Counts from here to `end`; whoever answers fills in the model, and the code when it is an error."""

    __slots__ = ("_began", "_observer", "_route", "code", "model")

    def __init__(self, observer: Observer | None, route: str) -> None:
        self.model = ""
        self.code: Code | None = None
        self._observer = observer
        self._route = route
        self._began = time.perf_counter()
        if observer is not None:
            observer.started("grpc")

    @property
    def began(self) -> int:
        """Monotonic nanoseconds (on Linux the performance counter is that clock)."""
        return round(self._began * 1e9)

    def end(self) -> None:
        if self._observer is not None:
            self._observer.finished("grpc", self._route, self.model, self.code, time.perf_counter() - self._began)
