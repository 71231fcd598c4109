"""A handler's first step where its request came in, without a task: all of it when there is nothing to wait for.

A task costs about as much as a small model's run. A handler that may begin like this awaits `waiting()` before anything
else that may have to wait; what follows runs in a task, as everywhere. (Python 3.12 has eager tasks, 3.11 has not.)
"""

from __future__ import annotations

import asyncio
from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator


F = TypeVar("F", bound="Callable[..., Any]")


def allowed(handler: F) -> F:
    """Marks a handler that may begin without a task."""
    handler.begins_without_task = True  # type: ignore[attr-defined]
    return handler


def is_allowed(handler: Callable[..., Any] | None) -> bool:
    return getattr(handler, "begins_without_task", False)


@coroutine
def waiting() -> Generator[None, None, None]:
    """From here on there is a task."""
    yield


def begin(loop: asyncio.AbstractEventLoop, handler: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Take the handler's first step; the task that takes the others, None when that was all."""
    try:
        handler.send(None)
    except StopIteration:
        return None
    return loop.create_task(handler)
