"""How long something takes that is done again and again, and whether one more would be done in time.

The one rule of admission, for every line in which requests wait (a model's queue, calls that are joined at the hop, a pool
of connections): refuse at arrival what is not expected to end within `SHARE` of its time, and tell when to come back.
"""

from __future__ import annotations

import random
import time

from crossover.protocol.deadline import NEVER
from crossover.protocol.errors import Code, InferenceError

SHARE = 0.8
"""Of the time left until a deadline, how much a request may be expected to need. The rest is for what the estimate does
not know: other requests, a busy machine, the way back."""
TRUSTED_SECONDS = 1.0
"""How long a measurement proves that something would be late. Afterwards one may try again."""
_WEIGHT = 0.125
_MOST_GROWTH = 4.0
_GRAIN_SECONDS = 0.001


class ExpectedTime:
    """Running mean of a duration and its mean deviation (Jacobson's estimator, RFC 6298 2), in seconds."""

    __slots__ = ("deviation", "known", "learnt_at", "mean")

    def __init__(self) -> None:
        self.mean = 0.0
        self.deviation = 0.0
        self.known = False
        self.learnt_at = -NEVER

    def learn(self, seconds: float) -> None:
        """One more measurement. A single outlier moves the mean by half of it at most; several in a row move it there."""
        self.learnt_at = time.monotonic()
        if not self.known:
            self.known, self.mean, self.deviation = True, seconds, seconds / 4
            return
        error = min(seconds, _MOST_GROWTH * self.mean + _GRAIN_SECONDS) - self.mean
        self.mean += _WEIGHT * error
        self.deviation += _WEIGHT * (abs(error) - self.deviation)

    @property
    def least(self) -> float:
        """What it takes at least, nearly always: two mean deviations below the mean."""
        return max(0.0, self.mean - 2 * self.deviation)

    def trusted(self, now: float) -> bool:
        """Whether it was measured lately."""
        return self.known and now - self.learnt_at < TRUSTED_SECONDS


def in_time(finish: float, deadline: float, now: float) -> bool:
    """Whether a request that is expected to end `finish` seconds from now may be taken. `now`: monotonic seconds."""
    return finish <= SHARE * (deadline - now)


def overloaded(message: str, wait: float) -> InferenceError:
    """The refusal of a request before which others would take `wait` seconds.

    Callers who were refused at one moment come back over half as long again, so that they do not meet.
    """
    return InferenceError(Code.OVERLOADED, message, retry_after=wait * random.uniform(1.0, 1.5))
