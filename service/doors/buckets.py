"""A token bucket for each caller, in a table that callers cannot make grow."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_CALLERS = 10_000
"""Beyond this the caller who was silent for longest is forgotten, as in nginx's limit_req: its bucket is the fullest."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class RateDecision:
    """Whether a request is within its caller's rate, and what remains of it."""

    allowed: bool
    remaining: int
    """Requests that would be allowed now."""
    full_in: float
    """Seconds until the whole burst is there again."""
    retry_in: float
    """Seconds until the next token; 0 when this one was there."""


class TokenBuckets:
    """`rate` tokens a second for each caller, `burst` at once.

    A bucket is one number, the time at which it would be full again, which says the same as a count and the time of it
    (the generic cell rate algorithm, ITU-T I.371).
    """

    def __init__(
        self,
        rate: float,
        burst: int,
        most_callers: int = MOST_CALLERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.burst = burst
        self._cost = 1.0 / rate
        self._depth = burst / rate
        self._most = most_callers
        self._clock = clock
        self._full_at: dict[str, float] = {}
        """Oldest use first."""

    def __len__(self) -> int:
        return len(self._full_at)

    @property
    def window(self) -> int:
        """Seconds in which an empty bucket fills, for ``RateLimit-Policy``."""
        return max(1, math.ceil(self._depth - _ROUNDING))

    def take(self, caller: str) -> RateDecision:
        now = self._clock()
        full_at = max(self._full_at.pop(caller, now), now)
        over = full_at + self._cost - now - self._depth
        allowed = over <= _ROUNDING * max(1.0, self._depth)
        if allowed:
            full_at += self._cost
        if len(self._full_at) >= self._most:
            del self._full_at[next(iter(self._full_at))]
        self._full_at[caller] = full_at
        empty_for = full_at - now
        remaining = max(0, math.floor((self._depth - empty_for) / self._cost + _ROUNDING * self.burst + 1e-6))
        return RateDecision(allowed, remaining, empty_for, 0.0 if allowed else over)
