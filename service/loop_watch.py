"""A watch over the event loop: a callback that takes long delays every other caller.

A tick notices when it is late (transport/loop_ticks.py). The CPU time of the loop's thread since the last tick measures the
turn that made it late: waiting for a CPU that other processes use does not count. While requests come, every turn longer
than the limit plus one tick is detected; without requests, from the second tenth of a second of computing on.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crossover.service import families
from crossover.transport.loop_ticks import loop_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

LONG_TURN_SECONDS = 0.02
"""CPU of one turn from which on it is counted."""
_LAG_KEPT_SECONDS = 10.0


class LoopWatch:
    """Counts long turns of one event loop, and knows how late its timers have been lately."""

    def __init__(self) -> None:
        self.long_turns = 0
        self.longest = 0.0
        """Seconds of CPU."""
        self._lag = 0.0
        self._lag_at = 0.0
        self._cpu = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch the event loop that runs now."""
        self._cpu = time.thread_time()
        self._ticks = loop_ticks(asyncio.get_running_loop())
        with self._ticks.told(self._look):
            yield

    def _look(self, now: float, lag: float) -> None:
        cpu = time.thread_time()
        used, self._cpu = cpu - self._cpu, cpu
        if lag >= self._lag or now - self._lag_at > _LAG_KEPT_SECONDS:
            self._lag, self._lag_at = lag, now
        if used >= LONG_TURN_SECONDS and not self._ticks.ticking:
            self._ticks.start()
        turn = min(lag, used)
        if turn >= LONG_TURN_SECONDS:
            self.long_turns += 1
            self.longest = max(self.longest, turn)

    def collect(self) -> Iterator[Metric]:
        yield families.gauge(
            "crossover_event_loop_lag_seconds", "How late the event loop's timers were, the worst of 10 s.", self._lag
        )
        yield families.counter(
            "crossover_event_loop_long_turns", "Turns of the event loop with more than 20 ms of CPU.", self.long_turns
        )
        yield families.gauge(
            "crossover_event_loop_longest_turn_cpu_seconds", "CPU of the longest turn of the event loop.", self.longest
        )
