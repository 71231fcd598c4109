"""Requests for one model that arrive while another is under way leave together, as one call along the first dimension.

Natural batching, no timer: with nothing under way a request leaves at once, so one request waits for nobody; what comes
meanwhile is gathered, and leaves when the call under way returns. The same wrapper serves at the hop (fewer calls) and
in front of an engine (fewer runs).

Two rules keep it right. A model is batched only when its configuration says so (`dynamic_batching` and
`max_batch_size`), never because of its shape, since rows may interact. And nobody suffers for a neighbour: only requests
alike in everything but their rows are joined, a joined call that is refused is done again one by one, and each caller
keeps its own deadline and its own cancel.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TypeAlias

from crossover.protocol import deadline
from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.expected_time import ExpectedTime, in_time, overloaded
from crossover.protocol.inference import CallContext, Inference, Wrapper
from crossover.protocol.joining import apart, form_of, joined, rows_allowed, rows_of
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.timeline import Timeline
from crossover.transport.time_limit import TimeLimit

PERMISSION_SECONDS = 5.0
"""How long a model's configuration is believed before it is asked for again."""
LONGEST_SECONDS = 3600.0

Key: TypeAlias = tuple[object, ...]


@dataclass(slots=True)
class _Waiting:
    """One caller."""

    request: InferRequest
    context: CallContext
    rows: int
    future: asyncio.Future[InferResponse]


@dataclass(slots=True)
class _Lane:
    """Requests that may be joined: those waiting, and whether a call is under way."""

    model: _Model
    busy: bool = False
    waiting: deque[_Waiting] = field(default_factory=deque)
    rows: int = 0
    """Of those waiting."""

    def admit(self, rows: int, until: float, name: str) -> None:
        """Raise unless a request that comes now is expected to be answered in time: the call under way is awaited first."""
        calls = ceil((self.rows + rows) / self.model.rows)
        seconds = self.model.seconds
        wait = calls * seconds.mean
        if not in_time(wait + seconds.mean + seconds.deviation, until, time.monotonic()):
            raise overloaded(
                f"{len(self.waiting)} requests for model '{name}' wait to be sent; this one would not be answered in time",
                wait,
            )


@dataclass(slots=True)
class _Model:
    """What is known of a model: how many rows its configuration allows in one call, 0 for none; and what a call takes."""

    rows: int
    until: float
    """When the configuration is asked for again."""
    seconds: ExpectedTime


class Coalescing(Wrapper):
    """`Inference` around another one that joins calls where the model allows it."""

    def __init__(self, inner: Inference) -> None:
        super().__init__(inner)
        self._lanes: dict[Key, _Lane] = {}
        self._models: BoundedCache[tuple[str, str], _Model] = BoundedCache(most_entries=1024)
        self._tasks: set[asyncio.Task[None]] = set()
        self.joined_calls = 0
        self.joined_requests = 0

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        rows = _rows(request)
        model = await self._model(request, context) if rows else None
        if model is None or rows >= model.rows:
            return await self.inner.infer(request, context)
        key = _key(request)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(model)
        if not lane.busy:
            return await self._first(key, lane, request, context)
        return await self._wait(lane, request, context, rows)

    async def _first(self, key: Key, lane: _Lane, request: InferRequest, context: CallContext) -> InferResponse:
        """A request that found nothing under way: it leaves at once, as it is."""
        lane.busy = True
        began = time.monotonic()
        try:
            response = await self.inner.infer(request, context)
            lane.model.seconds.learn(time.monotonic() - began)
            return response
        finally:
            self._next(key, lane)

    async def _wait(self, lane: _Lane, request: InferRequest, context: CallContext, rows: int) -> InferResponse:
        lane.admit(rows, context.deadline, request.model_name)
        waiting = _Waiting(request, context, rows, asyncio.get_running_loop().create_future())
        lane.waiting.append(waiting)
        lane.rows += rows
        try:
            with TimeLimit(context.deadline):
                return await waiting.future
        except TimeoutError:
            raise deadline.exceeded("while the request waited or the model ran") from None

    def _next(self, key: Key, lane: _Lane) -> None:
        """The call under way has returned: what has gathered leaves, or the lane rests."""
        group = _gather(lane)
        if not group:
            lane.busy = False
            del self._lanes[key]
            return
        task = asyncio.create_task(self._leave(key, lane, group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _leave(self, key: Key, lane: _Lane, group: list[_Waiting]) -> None:
        call = asyncio.create_task(self._together(group, lane.model) if len(group) > 1 else self._alone(group[0]))
        left = len(group)

        def one_done(_: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                call.cancel()

        for waiting in group:
            waiting.future.add_done_callback(one_done)
        try:
            await asyncio.wait([call])
        finally:
            self._next(key, lane)

    async def _together(self, group: list[_Waiting], model: _Model) -> None:
        """One call for all; when it is refused, one call for each, so that only the guilty one is told."""
        context = CallContext(min(max(one.context.deadline for one in group), time.monotonic() + LONGEST_SECONDS))
        if any(one.context.timeline is not None for one in group):
            context.timeline = Timeline()
        context.recording = next((one.context.recording for one in group if one.context.recording is not None), None)
        began = time.monotonic()
        try:
            response = await self.inner.infer(_joined(group), context)
            model.seconds.learn(time.monotonic() - began)
            answers = _apart(response, group)
        except InferenceError as error:
            if error.code.status.retryable or error.code is Code.DEADLINE_EXCEEDED:
                _fail(group, error)
                return
            await asyncio.gather(*(self._alone(one) for one in group))
            return
        self.joined_calls += 1
        self.joined_requests += len(group)
        for one, answer in zip(group, answers, strict=True):
            _tell(one, answer, context, len(group))

    async def _alone(self, one: _Waiting) -> None:
        try:
            answer = await self.inner.infer(one.request, one.context)
        except InferenceError as error:
            _fail([one], error)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to its caller, not to this task
            if not one.future.done():
                one.future.set_exception(error)
        else:
            if not one.future.done():
                one.future.set_result(answer)

    async def _model(self, request: InferRequest, context: CallContext) -> _Model:
        """What is known of the model; its configuration is asked for when that was long ago."""
        key = request.model_name, request.model_version
        known = self._models.get(key)
        if known is not None and known.until > time.monotonic():
            return known
        try:
            rows = rows_allowed(await self.inner.model_config(*key, CallContext(context.deadline)))
        except InferenceError:
            rows = 0  # the call itself will tell what is wrong
        model = _Model(rows, time.monotonic() + PERMISSION_SECONDS, known.seconds if known else ExpectedTime())
        self._models.put(key, model, len(key[0]) + len(key[1]))
        return model

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await super().close()


def _rows(request: InferRequest) -> int:
    """Rows of a request that may be joined with others; 0 when it must go alone."""
    if request.parameters or any(output.parameters for output in request.outputs):
        return 0
    return rows_of(request.inputs)


def _key(request: InferRequest) -> Key:
    """Equal for requests that differ in nothing but their rows and ids."""
    outputs = tuple([output.name for output in request.outputs])
    return request.model_name, request.model_version, form_of(request.inputs), outputs


def _gather(lane: _Lane) -> list[_Waiting]:
    """The callers that leave now, in order, up to the lane's limit of rows; those that have gone are dropped."""
    group: list[_Waiting] = []
    rows = 0
    while lane.waiting:
        one = lane.waiting[0]
        if one.future.done():
            lane.rows -= lane.waiting.popleft().rows
        elif rows + one.rows <= lane.model.rows or not group:
            group.append(lane.waiting.popleft())
            rows += one.rows
        else:
            break
    lane.rows -= rows
    return group


def _joined(group: Sequence[_Waiting]) -> InferRequest:
    first = group[0].request
    inputs = joined([one.request.inputs for one in group])
    return InferRequest(first.model_name, inputs, first.model_version, "", first.outputs)


def _apart(response: InferResponse, group: Sequence[_Waiting]) -> list[InferResponse]:
    outputs = apart(response.outputs, [one.rows for one in group])
    return [
        InferResponse(response.model_name, response.model_version, own, one.request.id)
        for one, own in zip(group, outputs, strict=True)
    ]


def _tell(one: _Waiting, answer: InferResponse, context: CallContext, sharing: int) -> None:
    one.context.bytes_sent = context.bytes_sent // sharing
    one.context.bytes_received = context.bytes_received // sharing
    if one.context.timeline is not None and context.timeline is not None:
        one.context.timeline.stamps.update(context.timeline.stamps)
    if one.context.recording is not None:
        one.context.recording = context.recording
    if not one.future.done():
        one.future.set_result(answer)


def _fail(group: Sequence[_Waiting], error: InferenceError) -> None:
    for one in group:
        if not one.future.done():
            one.future.set_exception(copy.copy(error))
