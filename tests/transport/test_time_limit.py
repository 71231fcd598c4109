"""A time limit that costs no timer means what asyncio.timeout_at means."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from crossover.transport.time_limit import TimeLimit


@pytest.mark.parametrize("seconds", [-1.0, 0.001, 0.05])
async def test_the_deadline_ends_what_waits(seconds):
    """Passed, near or far: TimeoutError, and the task may go on afterwards."""
    with pytest.raises(TimeoutError):
        with TimeLimit(time.monotonic() + seconds):
            await asyncio.sleep(60)
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("seconds", [math.inf, 3600])
async def test_what_ends_in_time_is_left_alone(seconds):
    """No error, and nothing stays behind."""
    with TimeLimit(time.monotonic() + seconds):
        await asyncio.sleep(0.05)


async def test_errors_and_cancels_of_others_pass():
    """Only the limit's own cancel becomes a TimeoutError."""
    with pytest.raises(KeyError):
        with TimeLimit(time.monotonic() + 1):
            raise KeyError

    async def limited() -> None:
        with TimeLimit(time.monotonic() + 60):
            await asyncio.sleep(60)

    task = asyncio.create_task(limited())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_many_in_line():
    """Each ends at its own deadline, in whatever order they came."""

    async def one(seconds: float) -> float:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            with TimeLimit(began + seconds):
                await asyncio.sleep(60)
        return time.monotonic() - began - seconds

    late = await asyncio.gather(*(one(seconds) for seconds in (0.3, 0.1, 0.2, 0.03, 0.001)))
    assert min(late) >= -0.001
