"""Freed memory is kept while large messages come, and given back once after they have stopped."""

from __future__ import annotations

import asyncio

import pytest

from crossover.service import process
from crossover.service.idle_memory import IDLE_SECONDS, LARGE_BYTES, IdleMemory
from crossover.transport.memory_budget import MemoryBudget


@pytest.fixture
def given_back(monkeypatch):
    """A line for each time."""
    lines = []
    monkeypatch.setattr(process, "give_memory_back", lambda: lines.append("given back"))
    return lines


async def test_after_large_messages_once(given_back):
    """Not while they come, not at once, and not again until others have come."""
    budget = MemoryBudget(1 << 30)
    idle = IdleMemory(budget)
    for start in (0.0, 100.0):
        given_back.clear()
        budget.hold(LARGE_BYTES)
        idle.look(start, 0)
        idle.look(start + 10, 0)
        budget.release(LARGE_BYTES)
        idle.look(start + 10 + 0.9 * IDLE_SECONDS, 0)
        await asyncio.sleep(0.01)
        assert given_back == []
        idle.look(start + 10 + 1.1 * IDLE_SECONDS, 0)
        idle.look(start + 50, 0)
        await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        assert given_back == ["given back"]


async def test_small_messages_leave_nothing_to_give_back(given_back):
    """A tensor of a few kilobytes costs no page."""
    budget = MemoryBudget(1 << 30)
    idle = IdleMemory(budget)
    budget.hold(LARGE_BYTES - 1)
    idle.look(0, 0)
    budget.release(LARGE_BYTES - 1)
    idle.look(100, 0)
    await asyncio.get_running_loop().run_in_executor(None, lambda: None)
    assert given_back == []
