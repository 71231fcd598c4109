"""What keeps the event loop busy is counted; what only waits is not."""

from __future__ import annotations

import asyncio
import math
import time

from crossover.service.loop_watch import LONG_TURN_SECONDS, LoopWatch
from crossover.transport.loop_admission import admit
from crossover.transport.loop_ticks import IDLE_TICK_SECONDS, TICK_SECONDS


def compute(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def shown(watch: LoopWatch) -> dict[str, float]:
    return {sample.name: sample.value for metric in watch.collect() for sample in metric.samples}


async def test_a_turn_with_much_cpu_is_counted_with_its_length():
    """One long turn, found whenever it began between two ticks."""
    watch = LoopWatch()
    with watch.running():
        await asyncio.sleep(3 * TICK_SECONDS)
        before = watch.long_turns
        for _ in range(3):
            admit("a model", math.inf)
            await asyncio.sleep(2 * TICK_SECONDS)
            compute(LONG_TURN_SECONDS + 3 * TICK_SECONDS)
            await asyncio.sleep(2 * TICK_SECONDS)
    metrics = shown(watch)
    assert metrics["crossover_event_loop_long_turns_total"] >= before + 3
    assert metrics["crossover_event_loop_longest_turn_cpu_seconds"] >= LONG_TURN_SECONDS
    assert metrics["crossover_event_loop_lag_seconds"] >= LONG_TURN_SECONDS


async def test_a_loop_that_computes_without_requests_is_looked_at_closely():
    """Turns of 50 ms, one after the other, are counted though nobody asked for anything."""
    watch = LoopWatch()
    with watch.running():
        for _ in range(20):
            compute(0.05)
            await asyncio.sleep(0.005)
        await asyncio.sleep(2 * IDLE_TICK_SECONDS)
    assert watch.long_turns >= 10


async def test_waiting_is_no_work():
    """A callback that sleeps makes timers late, which the lag shows, and uses no CPU."""
    watch = LoopWatch()
    with watch.running():
        await asyncio.sleep(3 * TICK_SECONDS)
        before = watch.long_turns
        time.sleep(2 * IDLE_TICK_SECONDS)
        await asyncio.sleep(2 * TICK_SECONDS)
    assert watch.long_turns == before
    assert shown(watch)["crossover_event_loop_lag_seconds"] >= 0.05
