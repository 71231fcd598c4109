"""Work that becomes due at once is spread over turns of the event loop."""

from __future__ import annotations

import asyncio

from crossover.transport import short_turns
from crossover.transport.short_turns import TURN_SECONDS, take_turn


class Clock:
    """Stands still until something takes time."""

    now = 0.0

    def monotonic(self):
        return self.now


async def test_others_have_a_turn_after_a_while(monkeypatch):
    """Of twelve tasks that take 2 ms each, three share a turn, and somebody else is served after each."""
    clock = Clock()
    monkeypatch.setattr(short_turns, "time", clock)
    done, seen = 0, []

    async def work():
        nonlocal done
        await take_turn()
        clock.now += 0.4 * TURN_SECONDS
        done += 1

    async def other():
        while done < 12:
            seen.append(done)
            await asyncio.sleep(0)

    watcher = asyncio.create_task(other())
    await asyncio.gather(*(work() for _ in range(12)), watcher)
    assert {3, 6, 9} <= set(seen)


async def test_one_alone_never_waits(monkeypatch):
    """A single piece of work goes on at once, however long the one before it took, in its own turn."""
    clock = Clock()
    monkeypatch.setattr(short_turns, "time", clock)
    for _ in range(3):
        turn = take_turn()
        try:
            turn.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("it waited")
        clock.now += 10 * TURN_SECONDS
        await asyncio.sleep(0)
