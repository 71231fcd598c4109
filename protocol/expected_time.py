"""An estimate of how long a repeated operation takes, and whether one more would finish in time.

The one rule of admission for every queue of requests (a model's queue, calls that are joined at the hop, a pool of
connections): refuse at arrival a request that is not expected to end within `SHARE` of its time, and say when to retry.
"""

from __future__ import annotations

import random
import time

from crossover.protocol.deadline import NEVER
from crossover.protocol.errors import Code, InferenceError

SHARE = 0.8
"""Of the time left until a deadline, how much a request may be expected to need. The rest is for what the estimate leaves
out: other requests, a busy machine, the reply's way back."""
TRUSTED_SECONDS = 1.0
"""How long a measurement is reason enough to refuse a request. Afterwards one may try again."""
_WEIGHT = 0.125
_MOST_GROWTH = 4.0
_GRAIN_SECONDS = 0.001


class ExpectedTime:
    """Running mean of a duration and its mean deviation (Jacobson's estimator, RFC 6298 2), in seconds."""

    __slots__ = ("deviation", "mean", "measured", "measured_at")

    def __init__(self) -> None:
        self.mean = 0.0
        self.deviation = 0.0
        self.measured = False
        self.measured_at = -NEVER

    def learn(self, seconds: float) -> None:
        """One more measurement. A single outlier moves the mean by half of it at most; several in a row move it there."""
        self.measured_at = time.monotonic()
        if not self.measured:
            self.measured, self.mean, self.deviation = True, seconds, seconds / 4
            return
        error = min(seconds, _MOST_GROWTH * self.mean + _GRAIN_SECONDS) - self.mean
        self.mean += _WEIGHT * error
        self.deviation += _WEIGHT * (abs(error) - self.deviation)

    @property
    def least(self) -> float:
        """The least that it nearly always takes: two mean deviations below the mean."""
        return max(0.0, self.mean - 2 * self.deviation)

    def trusted(self, now: float) -> bool:
        """Whether it was measured lately."""
        return self.measured and now - self.measured_at < TRUSTED_SECONDS


def in_time(finish: float, deadline: float, now: float) -> bool:
    """Whether a request that is expected to end `finish` seconds from now may be taken. `now`: monotonic seconds."""
    return finish <= SHARE * (deadline - now)


def overloaded(message: str, wait: float) -> InferenceError:
    """The refusal of a request that would wait `wait` seconds for others.

    The retry time has jitter of half the wait, so that callers refused at one moment do not return together.
    """
    return InferenceError(Code.OVERLOADED, message, retry_after=wait * random.uniform(1.0, 1.5))
