"""One situation: an arm and a fault under load, and what was seen of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.design.arms import ARMS
from crossover.comparison.faults.calls import (
    CALL_SECONDS,
    RIGHT,
    WRONG,
    Calls,
    Ended,
    Question,
    first_right,
    outcome_of,
    work,
)
from crossover.comparison.faults.events import EVENTS, Overload, Scene, question_of, usual_rate
from crossover.comparison.faults.server import proxied
from crossover.comparison.fleet.shares import quantile
from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.wires import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.faults.server import Server
    from crossover.comparison.network.link import Link
    from crossover.comparison.torture.frozen import Proxy
    from crossover.protocol.inference import Inference
    from crossover.protocol.wires import Target

LEAD_SECONDS, TAIL_SECONDS = 0.5, 1.5
"""Load before the fault, and at least after it is over."""
RUN_SECONDS = 0.02
"""What a run of `work` takes."""
_REFERENCE = "rest-binary"
"""Asks for the right answers, and for the capacity, when nothing is wrong."""
_QUESTIONS, _PROBE_CALLERS, _PROBE_SECONDS, _PATIENCE_SECONDS = 8, 4, 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One situation in one block: the calls under way when the fault began, and those due in the `seconds` after it."""

    block: int
    arm: str
    event: str
    calls: int
    failed: dict[str, int] = field(default_factory=dict)
    """By our error code; without those with a wrong answer."""
    wrong: int = 0
    recovered_s: float | None = None
    """From the moment when the cause was over to the first right answer; None: it did not come."""
    lasted_s: float = 0.0
    """How long the cause lasted: what is no wire's doing, as the start of a process."""
    goodput: float = 0.0
    """Right answers in time, of those that could be given: all calls, or the capacity where that is less."""
    p99_ms: float | None = None
    """Of right answers."""
    late_ms: float = 0.0
    """How late the generator sent its calls, 99th percentile."""


async def tried(
    server: Server, block: int, arm: str, event: str, *, seconds: float, seed: int, link: Link | None,
    overload: Overload | None,
) -> Seen:  # fmt: skip
    """Load over one client of the arm, the fault, and load until it is over; afterwards the server is well."""
    upstream = ARMS[arm].upstream
    with contextlib.ExitStack() as stack:
        target = server.target
        proxies: list[Proxy] = []
        if event == "half-open":
            target, proxies = stack.enter_context(proxied(target))
        client = connect(upstream, target)
        calls = Calls(client, usual_rate(overload), question_of(overload))
        scene = Scene(server, upstream, calls, seconds, proxies, link, seed, overload)
        try:
            await _until_answered(client, calls)
            began, over = await _under_load(calls, event, scene)
        finally:
            with contextlib.suppress(TimeoutError, InferenceError, OSError):
                await asyncio.wait_for(client.close(), 2.0)
    capacity = None if overload is None else overload.capacity
    return seen(block, arm, event, calls.ended, began, over, seconds, capacity)


async def _under_load(calls: Calls, event: str, scene: Scene) -> tuple[float, float]:
    """When the fault began, and when its cause was over."""
    stop = asyncio.Event()
    load = asyncio.create_task(calls.run(stop))
    try:
        await asyncio.sleep(LEAD_SECONDS)
        began = time.monotonic()
        over = await EVENTS[event].do(scene)
        await asyncio.sleep(max(began + scene.seconds, over + TAIL_SECONDS) - time.monotonic())
    finally:
        stop.set()
        await load
    return began, over


def seen(
    block: int,
    arm: str,
    event: str,
    ended: Sequence[Ended],
    began: float,
    over: float,
    seconds: float,
    capacity: float | None,
) -> Seen:
    """What the calls say; `capacity` is the most right answers a second that there could be, None: all calls. Pure."""
    during = [call for call in ended if call.ended >= began and call.due < began + seconds]
    outcomes = Counter(call.outcome for call in during)
    right = outcomes.pop(RIGHT, 0)
    wrong = outcomes.pop(WRONG, 0)
    best = len(during) if capacity is None else min(len(during), capacity * seconds)
    taken = [call.ended - call.due for call in during if call.outcome == RIGHT]
    recovered = first_right(ended, over)
    return Seen(
        block, arm, event, len(during), dict(outcomes), wrong, recovered, over - began, right / best if best else 0.0,
        quantile(taken, 0.99) * 1000 if taken else None,
        quantile([call.began - call.due for call in during], 0.99) * 1000 if during else 0.0,
    )  # fmt: skip


async def _until_answered(client: Inference, calls: Calls) -> None:
    """The first calls open connections and are not measured."""
    until = deadline.after(_PATIENCE_SECONDS)
    while (outcome := await outcome_of(client, calls.question(0), deadline.after(CALL_SECONDS))) != RIGHT:
        if deadline.remaining(until) < 0:
            raise InferenceError(Code.UNAVAILABLE, f"no right answer before the fault: {outcome}")
        await asyncio.sleep(0.1)


async def overloaded(target: Target) -> Overload:
    """What a model of some 20 ms can answer here and now, and the right answers."""
    client = connect(_REFERENCE, target)
    try:
        turns = await _turns(client)
        questions = [await _asked(client, number, turns) for number in range(_QUESTIONS)]
        until = time.monotonic() + _PROBE_SECONDS
        counts = await asyncio.gather(*(_closed_loop(client, questions, until) for _ in range(_PROBE_CALLERS)))
        return Overload(turns, sum(counts) / _PROBE_SECONDS, questions)
    finally:
        await client.close()


async def _turns(client: Inference) -> int:
    """How many turns take RUN_SECONDS; the median of some calls less that of calls with one turn."""

    async def taken(turns: int) -> float:
        found = []
        for number in range(5):
            began = time.monotonic()
            await _asked(client, number, turns)
            found.append(time.monotonic() - began)
        return float(np.median(found))

    await taken(1)
    slope = (await taken(2000) - await taken(1)) / 2000
    return max(10, int(RUN_SECONDS / max(slope, 1e-7)))


async def _asked(client: Inference, number: int, turns: int) -> Question:
    request = work(number, turns)
    reply = await client.infer(request, CallContext(deadline.after(_PATIENCE_SECONDS)))
    return Question(request, np.array(reply.outputs[0].array))


async def _closed_loop(client: Inference, questions: Sequence[Question], until: float) -> int:
    count = 0
    while time.monotonic() < until:
        count += await outcome_of(client, questions[count % len(questions)], deadline.after(CALL_SECONDS)) == RIGHT
    return count
