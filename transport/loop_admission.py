"""Admission where the event loop itself is what everybody waits for.

A loop with more than it can do takes longer in each turn than in the one before, and everything is answered too late. How
late its ticks are (loop_ticks.py) tells how long a request waited before it was seen; when that is more than `SHARE` of its
time, it is refused at once, which costs a fraction of an answer, the more likely the later it is. A model that asks for
little is not refused for another one's crowd.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

from crossover.protocol.expected_time import overloaded
from crossover.transport.loop_ticks import loop_ticks
from crossover.transport.per_loop import PerLoop

SHARE = 0.2
"""Of the time until a request's deadline. It waits for more turns: behind this loop, and for its answer to be seen."""
_BUSY_SECONDS = 0.02
_WINDOW_SECONDS = 0.2
_LIGHT, _FEW = 0.5, 8
"""Of an equal share of the requests, what a model may ask for without being refused; and requests in two windows."""


class LoopAdmission:
    """Of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ticks = loop_ticks(loop)
        self._asked: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._window = 0.0
        self.refused = 0
        """Requests, since the beginning."""

    def check(self, model: str, until: float, late: float) -> None:
        """OVERLOADED when a request has waited too long for this turn of a busy loop, whose ticks are `late`."""
        now = time.monotonic()
        self._count(model, now)
        allowed = SHARE * (until - now)
        if late > allowed * (1 + random.random()) and not self._is_light(model):
            self.refused += 1
            raise overloaded(
                f"the service has more requests than it can answer; this one waited for about {late:.3f} s", late
            )

    def _count(self, model: str, now: float) -> None:
        if now - self._window > _WINDOW_SECONDS:
            self._before = self._asked if now - self._window < 2 * _WINDOW_SECONDS else Counter()
            self._asked, self._window = Counter(), now
        self._asked[model] += 1

    def _is_light(self, model: str) -> bool:
        models = self._asked.keys() | self._before.keys()
        share = (self._asked.total() + self._before.total()) / len(models)
        return self._asked[model] + self._before[model] <= max(_FEW, _LIGHT * share)


_OF: PerLoop[LoopAdmission] = PerLoop(LoopAdmission)


def admit(model: str, until: float) -> None:
    """OVERLOADED when a request for `model` has waited too long for the running event loop to come to it. `until`: its deadline."""
    admission = _OF[asyncio.get_running_loop()]
    late = admission.ticks.ask()
    if late >= _BUSY_SECONDS:
        admission.check(model, until, late)


def refused() -> int:
    """Requests that the event loops of this process refused."""
    return sum(admission.refused for admission in list(_OF.values()))
