"""Work on large messages leaves the event loop for a thread: it takes milliseconds, in which nobody else would be served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from crossover.protocol.limits import is_heavy

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


async def off_loop(text_bytes: int, work: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
    """What `work` returns, done here for little JSON, or other encoded text, and in a thread for much."""
    if is_heavy(text_bytes):
        return await asyncio.to_thread(work, *given, **named)
    return work(*given, **named)
