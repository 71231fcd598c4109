"""Work on large messages leaves the event loop for a thread: it takes milliseconds, in which nobody else would be served."""

from __future__ import annotations

import asyncio
import traceback
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from crossover.protocol.limits import is_heavy

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


async def off_loop(text_bytes: int, work: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
    """What `work` returns, done here for little JSON, or other encoded text, and in a thread for much."""
    if is_heavy(text_bytes):
        return await asyncio.to_thread(_done, partial(work, *given, **named))
    return work(*given, **named)


def _done(work: Callable[[], R]) -> R:
    """What was made before a failure goes here: the loop would take long to free millions of objects."""
    try:
        return work()
    except Exception as error:
        failed: BaseException | None = error
        while failed is not None:
            traceback.clear_frames(failed.__traceback__)
            failed = failed.__context__
        raise
