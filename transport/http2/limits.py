"""What a peer may make a connection do for nothing: token buckets, far above what a peer does for its own sake."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection: bursts, and what is allowed per second beyond them."""

    streams: int = 10_000
    """Streams of the peer's at once (SETTINGS_MAX_CONCURRENT_STREAMS)."""
    unsent_bytes: int = 256 << 20
    """Bytes that wait for the peer's windows; beyond them its new streams are refused."""
    resets: int = 10_000
    resets_per_second: int = 1_000
    """Streams that the peer opens and resets itself (CVE-2023-44487). A gateway under overload gives up many calls."""
    faults: int = 100
    faults_per_second: int = 10
    """Streams that the peer's faults make us reset (CVE-2025-8671)."""
    idle_frames: int = 10_000
    idle_frames_per_second: int = 1_000
    """Frames that bring nothing forward: PING, SETTINGS, PRIORITY, CONTINUATION, empty DATA, unknown types, late frames."""


SETTINGS_COST = 100
"""SETTINGS may change the window of every stream: each counts as so many idle frames."""


class TokenBucket:
    """Takes are allowed at `per_second`, and `burst` at once. The clock is asked only when the burst is used up."""

    __slots__ = ("_burst", "_clock", "_filled", "_left", "_per_second")

    def __init__(self, burst: int, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = self._left = float(burst)
        self._per_second = per_second
        self._clock = clock
        self._filled = clock()

    def take(self, count: int = 1) -> bool:
        """Whether so many more are within the allowance."""
        self._left -= count
        if self._left >= 0:
            return True
        now = self._clock()
        self._left = min(self._burst, self._left + self._per_second * (now - self._filled))
        self._filled = now
        return self._left >= 0

    def earn(self, count: int) -> None:
        """Allow so many more."""
        if self._left < self._burst:
            self._left += count
