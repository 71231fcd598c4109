"""`PerLoop`: one object for each event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class PerLoop(dict[asyncio.AbstractEventLoop, T]):
    """`of[loop]` makes what is not there yet, and forgets what belongs to loops that were closed."""

    def __init__(self, make: Callable[[asyncio.AbstractEventLoop], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, loop: asyncio.AbstractEventLoop) -> T:
        for closed in [other for other in list(self) if other.is_closed()]:
            self.pop(closed, None)
        made = self[loop] = self._make(loop)
        return made
