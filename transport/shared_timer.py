"""One timer of the event loop for many deadlines: setting and cancelling one for each costs more than a short call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.protocol import deadline

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class SharedTimer:
    """Calls `look` when the earliest deadline is due; `look` ends what is, and gives the earliest of what is left."""

    __slots__ = ("_handle", "_look", "_loop", "_until")

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], float]) -> None:
        self._loop = loop
        self._look = look
        self._handle: asyncio.TimerHandle | None = None
        self._until = deadline.NEVER

    def at_latest(self, until: float) -> None:
        """Look at `until` or before; the timer is set anew for an earlier deadline only."""
        if until < self._until:
            self.cancel()
            self._until = until
            self._handle = self._loop.call_later(max(0.0, deadline.remaining(until)), self._due)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._until = None, deadline.NEVER

    def _due(self) -> None:
        self._handle, self._until = None, deadline.NEVER
        self.at_latest(self._look())
