"""A loop that is late refuses what it has no time for, not what is rare, and not after a single pause."""

from __future__ import annotations

import asyncio
import time

import pytest

from crossover.protocol.errors import Code, InferenceError
from crossover.transport.loop_admission import admit


async def _pause(times: int) -> None:
    """Let the loop be late so many times in a row."""
    for _ in range(times):
        admit("heavy", time.monotonic() + 60)
        time.sleep(0.3)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def _refusals(model: str, count: int, seconds: float) -> list[InferenceError]:
    refusals = []
    for _ in range(count):
        try:
            admit(model, time.monotonic() + seconds)
        except InferenceError as error:
            refusals.append(error)
    return refusals


async def test_a_late_loop_refuses_the_crowd():
    """Requests of a crowd with near deadlines are told 429 and how late it is; the same with time are taken."""
    await _pause(3)
    refusals = _refusals("heavy", 100, 0.5)
    assert len(refusals) > 80
    assert {error.code for error in refusals} == {Code.OVERLOADED}
    assert all(error.retry_after > 0.1 for error in refusals)
    assert not _refusals("heavy", 100, 60)


async def test_a_rare_model_is_not_refused_for_it():
    """Another model's few calls are taken, however late the loop is."""
    await _pause(3)
    assert _refusals("heavy", 100, 0.5)
    assert not _refusals("rare", 8, 0.5)


@pytest.mark.parametrize("quiet", [False, True])
async def test_one_pause_is_no_overload(quiet):
    """A single pause refuses nobody, nor does one that is over."""
    await _pause(3 if quiet else 1)
    if quiet:
        for _ in range(4):
            admit("heavy", time.monotonic() + 60)
            await asyncio.sleep(0.03)
    assert not _refusals("heavy", 100, 2.0)
