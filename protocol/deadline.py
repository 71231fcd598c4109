"""A deadline is an absolute point on the monotonic clock, in seconds; `NEVER` is infinity. The smallest wins.

What travels between services is the time that remains (a relative timeout, as gRPC's ``grpc-timeout`` and our
``Inference-Timeout-Ms`` do), because clocks of two hosts do not agree.
"""

from __future__ import annotations

import math
import time

from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.names import shown

NEVER = math.inf
TIMEOUT_HEADER = "inference-timeout-ms"
_LONGEST_MS = 10**9


def after(seconds: float | None) -> float:
    """The deadline `seconds` from now; None means never."""
    return NEVER if seconds is None else time.monotonic() + seconds


def remaining(deadline: float) -> float:
    """Seconds left: negative when it has passed, infinity for `NEVER`."""
    return deadline - time.monotonic()


def timeout_of(deadline: float) -> float | None:
    """The remaining seconds in the form asyncio and gRPC take: None for never, and never below zero."""
    return None if deadline == NEVER else max(0.0, remaining(deadline))


def exceeded(where: str) -> InferenceError:
    return InferenceError(Code.DEADLINE_EXCEEDED, f"the deadline passed {where}")


def check(deadline: float, where: str) -> None:
    """Raise DEADLINE_EXCEEDED when the deadline has passed: work whose time is over is not started."""
    if deadline != NEVER and time.monotonic() >= deadline:
        raise exceeded(where)


def from_header(text: str | None) -> float:
    """The deadline that an ``Inference-Timeout-Ms`` header asks for: a positive integer of milliseconds."""
    if text is None:
        return NEVER
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:12]) <= _LONGEST_MS or len(text) > 12:
        raise invalid(f"header Inference-Timeout-Ms is '{text[:40]}'; it takes a positive integer of milliseconds")
    return after(int(text) / 1000)


def to_header(deadline: float) -> str | None:
    """The header text for the time that remains (at least 1 ms), or None for never."""
    seconds = timeout_of(deadline)
    return None if seconds is None else str(max(1, math.ceil(seconds * 1000)))


def from_parameter(value: object) -> float:
    """The deadline that OIP's `timeout` request parameter asks for: microseconds, 0 for none."""
    if value is None:
        return NEVER
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise invalid(
            f"parameter 'timeout' is {shown(value)}; it takes microseconds, a positive integer, or 0 for none"
        )
    return after(value / 1_000_000) if value else NEVER
