"""Work on large JSON leaves the event loop for a thread: it takes milliseconds, in which nobody else would be served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from crossover.protocol.limits import is_heavy

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")
TYPICAL_ELEMENT_BYTES = 4
"""Of a number in JSON."""


async def off_loop(json_bytes: int, work: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
    """What `work` returns, done here for little JSON and in a thread for much."""
    if is_heavy(json_bytes):
        return await asyncio.to_thread(work, *given, **named)
    return work(*given, **named)
