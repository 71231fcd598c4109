"""The hop view's load generator: our own clients, on one event loop, straight to the model server.

The client is part of what is measured here, so the generator's CPU is the client's. Send times are kept by a timerfd
on the loop; asyncio's own timers would be up to a millisecond late.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import uvloop

from crossover.comparison.design import outcomes as out
from crossover.comparison.lab import wires as lab_wires
from crossover.comparison.load.timer import Timer
from crossover.protocol import wires
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.deadline import after
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.timeline import Timeline

if TYPE_CHECKING:
    from crossover.comparison.design.outcomes import Output, Record
    from crossover.comparison.design.schedule import Schedule
    from crossover.protocol.inference import Inference

_SETTLE_NS = 3_000_000
_SPIN_NS = 250_000
_PATIENCE_SECONDS = 15.0


@dataclass(slots=True)
class Work:
    """What a slice sends over which wire, and what it expects."""

    wire: str
    target: wires.Target
    requests: list[bytes]
    """ModelInferRequest messages, the form in which requests travel between our own processes."""
    expected: list[tuple[Output, ...]]
    schedule: Schedule
    concurrency: int
    stages: bool = False
    tolerance: float = 0.0
    """Relative difference from the expected floats that passes; 0: bit for bit."""


class Driver:
    """Clients that live across slices, one for each wire and service."""

    apart = False

    def __init__(self) -> None:
        lab_wires.register()
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._clients: dict[tuple[str, str, str], Inference] = {}

    def run(self, work: Work) -> Record:
        """Drive one slice to its end and record every request."""
        return self._runner.run(self._run(work))

    async def _run(self, work: Work) -> Record:
        key = work.wire, work.target.grpc, work.target.rest
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = wires.connect(work.wire, work.target)
        gc.collect()
        gc.disable()
        cpu, wall = time.process_time_ns(), time.monotonic_ns()
        slice_ = _Slice(work, client)
        try:
            await slice_.run()
        finally:
            gc.enable()
        spent, took = time.process_time_ns() - cpu - slice_.spun_ns, time.monotonic_ns() - wall
        return out.Record(slice_.table, spent, took, slice_.complaint, slice_.stages)

    def close(self) -> None:
        async def close() -> None:
            for client in self._clients.values():
                await client.close()

        self._runner.run(close())
        self._runner.close()


@dataclass(slots=True)
class _Slice:
    """The state of one slice: a pool of callers that take requests when they are due."""

    work: Work
    client: Inference
    table: out.Table = field(init=False)
    stages: list[dict[str, int]] = field(default_factory=list)
    complaint: str = ""
    spun_ns: int = 0
    """CPU time spent on waiting for planned times, which is no client's."""
    _under_way: int = 0
    _due: deque[int] = field(default_factory=deque)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    _all_woken: bool = False

    requests: list[InferRequest] = field(init=False)

    def __post_init__(self) -> None:
        self.table = out.empty(self.work.schedule.count)
        self.requests = [protobuf_codec.decode_request(data) for data in self.work.requests]

    async def run(self) -> None:
        callers = [asyncio.create_task(self._caller()) for _ in range(self.work.concurrency)]
        await self._wake_all()
        self._all_woken = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        _, late = await asyncio.wait(callers, timeout=_PATIENCE_SECONDS)
        for caller in late:
            caller.cancel()

    async def _wake_all(self) -> None:
        offsets = self.work.schedule.offsets_ns
        if offsets is None:
            self._due.extend(range(self.work.schedule.count))
            return
        timer = Timer()
        start = time.monotonic_ns() + _SETTLE_NS
        try:
            for index, offset in enumerate(offsets.tolist()):
                await self._until(timer, start + offset)
                self.table[index, out.PLANNED], self.table[index, out.WOKEN] = start + offset, time.monotonic_ns()
                self._due.append(index)
                self._call_one()
        finally:
            timer.close()

    async def _until(self, timer: Timer, planned: int) -> None:
        """Return at a planned time, or at once when it has passed.

        With nothing under way the last stretch is spent polling the clock: an idle virtual CPU is slow to wake up.
        """
        await _at(timer, planned - _SPIN_NS)
        if self._under_way:
            await _at(timer, planned)
            return
        began = time.thread_time_ns()
        while time.monotonic_ns() < planned:
            pass
        self.spun_ns += time.thread_time_ns() - began

    def _call_one(self) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    async def _caller(self) -> None:
        while True:
            if self._due:
                self._under_way += 1
                await self._one(self._due.popleft())
                self._under_way -= 1
            elif self._all_woken:
                return
            else:
                waiting = asyncio.get_running_loop().create_future()
                self._waiting.append(waiting)
                await waiting

    async def _one(self, index: int) -> None:
        variant = int(self.work.schedule.variants[index])
        request = _fresh(self.requests[variant])
        stations = Timeline() if self.work.stages else None
        context = CallContext(deadline=after(_PATIENCE_SECONDS), timeline=stations)
        sent = time.monotonic_ns()
        self.table[index, out.SENT] = sent
        if self.work.schedule.offsets_ns is None:
            self.table[index, out.PLANNED] = self.table[index, out.WOKEN] = sent
        outcome, wrong = out.OK, ""
        try:
            response = await self.client.infer(request, context)
            done = time.monotonic_ns()
            wrong = out.difference(response, self.work.expected[variant], self.work.tolerance)
            outcome = out.WRONG if wrong else out.OK
        except InferenceError as error:
            done, outcome, wrong = time.monotonic_ns(), out.ERROR, error.message
        self.table[index, out.DONE], self.table[index, out.OUTCOME] = done, outcome
        self.complaint = self.complaint or wrong
        if stations is not None:
            self.stages.append({"client.sent": sent, **stations.stamps, "client.done": done})


def _fresh(request: InferRequest) -> InferRequest:
    """The request as a caller makes it: arrays that nobody has encoded yet."""
    inputs = [Tensor.from_array(tensor.name, tensor.array, tensor.datatype) for tensor in request.inputs]
    return InferRequest(request.model_name, inputs, request.model_version, parameters=dict(request.parameters))


async def _at(timer: Timer, monotonic_ns: int) -> None:
    """Return at an absolute time of the monotonic clock, or at once when it has passed."""
    if time.monotonic_ns() >= monotonic_ns:
        return
    loop = asyncio.get_running_loop()
    fired = loop.create_future()
    timer.set(monotonic_ns)
    loop.add_reader(timer.fd, _fire, timer, fired)
    try:
        await fired
    finally:
        loop.remove_reader(timer.fd)


def _fire(timer: Timer, fired: asyncio.Future[None]) -> None:
    timer.clear()
    if not fired.done():
        fired.set_result(None)
