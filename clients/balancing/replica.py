"""One replica: its client, the calls under way on it, and whether it can take more.

Three things take a replica out of the rotation, each until it has shown that it is well again:

- it cannot be connected to, or a connection was lost with a call on it: a question for its readiness is repeated with a
  growing pause, and no caller's call is risked;
- it says that it is not ready, or does not answer that question twice in a row: it is leaving, starting, or stopped;
- its last `STREAK` calls failed though it answers health (an outlier): it is ejected for a time that doubles with each
  ejection, and the first failure after it has come back ejects it again. Never more than half of the replicas at once:
  what fails everywhere is not a replica's fault.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from crossover.clients.balancing.lanes import worker_of
from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crossover.clients.balancing.targets import Endpoint

log = logging.getLogger("crossover.balancing")
T = TypeVar("T")

HEALTH_SECONDS = 1.0
"""Between two questions; less than half of a drain (DRAIN_SECONDS), so that who leaves is left in time."""
ANSWER_SECONDS = 1.0
MOST_UNANSWERED = 2
"""One missing answer may be a long turn of an event loop."""
LATE_SECONDS = 0.2
"""A question that ends so late was asked by an event loop that is itself too busy to judge others."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 3.0
"""Between two attempts at a replica that cannot be connected to."""
STREAK = 5
EJECTION_SECONDS, LONGEST_EJECTION_SECONDS = 5.0, 300.0
FORGIVEN_SECONDS = 60.0
"""After so long without an ejection the next one is a first one."""
_ITS_FAULT = frozenset({Code.UNAVAILABLE, Code.UNKNOWN, Code.INTERNAL})
_NOTHING_SAID = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED})


class Replica:
    """One replica; it calls `changed` whenever `usable` has, and asks `may_eject` before it ejects itself."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: Inference,
        changed: Callable[[], None],
        may_eject: Callable[[], bool],
        *,
        is_up: bool,
        of_several: bool = False,
    ) -> None:
        """`is_up`: it is believed to be ready until it was asked. `of_several`: it is asked which of several workers it is."""
        self.endpoint = endpoint
        self.client = client
        self.in_flight = 0
        self.calls = self.failures = self.ejections = 0
        self.worker: tuple[int, int] | None = None
        """Which of how many workers answers (clients/balancing/lanes.py)."""
        self._of_several = of_several
        self._changed = changed
        self._may_eject = may_eject
        self.is_up = is_up
        self.is_ejected = False
        self._unanswered = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._streak = 0
        self._ejections_in_row = 0
        self._back_at = -math.inf
        self._back: asyncio.TimerHandle | None = None
        self._asked_for = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._retired = False
        self._closing: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        return self.endpoint.address

    @property
    def usable(self) -> bool:
        """Whether it takes part in the rotation."""
        return self.is_up and not self.is_ejected

    async def call(self, ask: Callable[[Inference], Awaitable[T]]) -> T:
        """`ask` of its client, and learn from how that ends."""
        self.in_flight += 1
        self.calls += 1
        try:
            answer = await ask(self.client)
        except InferenceError as error:
            self._failed(error)
            raise
        else:
            self._streak = 0
            return answer
        finally:
            self.in_flight -= 1
            if self._retired:
                self._close_when_idle()

    def _failed(self, error: InferenceError) -> None:
        if error.code in _NOTHING_SAID:
            return
        if error.code not in _ITS_FAULT:
            self._streak = 0  # it has answered
            return
        self.failures += 1
        if error.unprocessed or error.connection_lost:
            self._set_up(False, error.message)
            self._asked_for.set()
        if error.unprocessed:
            return
        self._streak += 1
        if self._streak >= STREAK and not self.is_ejected and self._may_eject():
            self._eject()

    def _eject(self) -> None:
        now = time.monotonic()
        if now - self._back_at > FORGIVEN_SECONDS:
            self._ejections_in_row = 0
        seconds = min(EJECTION_SECONDS * 2**self._ejections_in_row, LONGEST_EJECTION_SECONDS)
        self._ejections_in_row = min(self._ejections_in_row + 1, 16)
        self.ejections += 1
        self.is_ejected = True
        self._back = asyncio.get_running_loop().call_later(seconds, self._come_back)
        log.warning("%s is ejected for %g s: its last %d calls failed", self.endpoint.name, seconds, self._streak)
        self._changed()

    def _come_back(self) -> None:
        self._back = None
        self.is_ejected = False
        self._streak = STREAK - 1
        self._back_at = time.monotonic()
        self._changed()

    def _set_up(self, is_up: bool, why: str = "") -> None:
        if is_up != self.is_up:
            self.is_up = is_up
            if is_up:
                log.info("%s takes calls", self.endpoint.name)
            else:
                log.warning("%s takes no calls: %s", self.endpoint.name, why)
            self._changed()

    # health

    def tend(self) -> None:
        """Ask for its health from now on."""
        if self._tending is None or self._tending.done():
            self._tending = asyncio.create_task(self._tend())

    def leave_alone(self) -> None:
        """Ask no more."""
        if self._tending is not None:
            self._tending.cancel()
            self._tending = None

    async def _tend(self) -> None:
        while True:
            self._asked_for.clear()
            asked_at = time.monotonic()
            pause = await self._ask()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._asked_for.wait()
                    await asyncio.sleep(asked_at + FIRST_PAUSE_SECONDS - time.monotonic())

    async def _ask(self) -> float:
        """Ask once; the seconds until the next question."""
        until = deadline.after(ANSWER_SECONDS)
        try:
            with TimeLimit(until):
                is_ready = await self.client.server_ready(CallContext(until))
                if self._of_several:
                    self.worker = worker_of((await self.client.server_metadata(CallContext(until))).extensions)
        except TimeoutError:
            if time.monotonic() - until > LATE_SECONDS:
                return FIRST_PAUSE_SECONDS
            return self._missed("it does not answer")
        except InferenceError as error:
            if error.unprocessed:
                self._set_up(False, error.message)
                self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
                return self._pause / 2
            if error.code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                return self._missed(error.message)
            is_ready = True  # it answers, and does not know the question
        self._unanswered = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._set_up(is_ready, "it is not ready")
        if self.worker is not None:
            self._changed()
        return HEALTH_SECONDS

    def _missed(self, why: str) -> float:
        self._unanswered += 1
        if self._unanswered >= MOST_UNANSWERED:
            self._set_up(False, why)
        return FIRST_PAUSE_SECONDS

    # its end

    def retire(self) -> None:
        """It is a replica no more: close it when the calls under way have ended."""
        self._retired = True
        self.leave_alone()
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        if not self.in_flight and self._closing is None:
            self._closing = asyncio.create_task(self.close())

    async def close(self) -> None:
        self.leave_alone()
        if self._back is not None:
            self._back.cancel()
            self._back = None
        await self.client.close()
