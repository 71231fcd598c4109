"""Work in a thread leaves nothing for the event loop to clear away."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest

from crossover.protocol.limits import HEAVY_BYTES
from crossover.transport.off_loop import off_loop


class Made:
    """Remembers in which thread each was freed."""

    freed: ClassVar[list[bool]] = []

    def __del__(self) -> None:
        self.freed.append(threading.current_thread() is threading.main_thread())


async def test_what_a_failed_work_had_made_is_freed_in_its_thread():
    """An error that is worded from a document of millions of values does not bring them back to the loop."""
    Made.freed.clear()
    with pytest.raises(ValueError, match="Made"):
        await off_loop(HEAVY_BYTES, failing_with_values)
    assert Made.freed == [False, False]


def failing_with_values() -> None:
    values = [Made()]
    try:
        deeper = [Made()]
        raise KeyError(len(deeper))
    except KeyError:
        raise ValueError(str(type(values[0]))) from None
