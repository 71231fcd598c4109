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
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference, Wrapper
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor
from crossover.protocol.timeline import Timeline
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from crossover.protos import inference as pb

DEFAULT_ROWS = 64
"""Rows that are gathered when `preferred_batch_size` says nothing."""
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

    limit: int
    busy: bool = False
    waiting: deque[_Waiting] = field(default_factory=deque)


@dataclass(slots=True)
class _Permission:
    """What the model's configuration allows: rows in one call, 0 for none."""

    rows: int
    until: float


class Coalescing(Wrapper):
    """`Inference` around another one that joins calls where the model allows it."""

    def __init__(self, inner: Inference) -> None:
        super().__init__(inner)
        self._lanes: dict[Key, _Lane] = {}
        self._permissions: dict[tuple[str, str], _Permission] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.joined_calls = 0
        self.joined_requests = 0

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        rows = _rows(request)
        limit = await self.limit(request, context) if rows else 0
        if rows == 0 or rows >= limit:
            return await self.inner.infer(request, context)
        key = _key(request)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(limit)
        if not lane.busy:
            return await self._first(key, lane, request, context)
        return await self._wait(lane, request, context, rows)

    async def _first(self, key: Key, lane: _Lane, request: InferRequest, context: CallContext) -> InferResponse:
        """A request that found nothing under way: it leaves at once, as it is."""
        lane.busy = True
        try:
            return await self.inner.infer(request, context)
        finally:
            self._next(key, lane)

    async def _wait(self, lane: _Lane, request: InferRequest, context: CallContext, rows: int) -> InferResponse:
        waiting = _Waiting(request, context, rows, asyncio.get_running_loop().create_future())
        lane.waiting.append(waiting)
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
        call = asyncio.create_task(self._together(group) if len(group) > 1 else self._alone(group[0]))
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

    async def _together(self, group: list[_Waiting]) -> None:
        """One call for all; when it is refused, one call for each, so that only the guilty one is told."""
        context = CallContext(min(max(one.context.deadline for one in group), time.monotonic() + LONGEST_SECONDS))
        context.requests = len(group)
        if any(one.context.timeline is not None for one in group):
            context.timeline = Timeline()
        context.recording = next((one.context.recording for one in group if one.context.recording is not None), None)
        try:
            response = await self.inner.infer(_joined(group), context)
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

    async def limit(self, request: InferRequest, context: CallContext) -> int:
        """Rows that may leave together; 0 when the model's configuration does not allow it."""
        known = self._permissions.get((request.model_name, request.model_version))
        if known is not None and known.until > time.monotonic():
            return known.rows
        try:
            config = await self.inner.model_config(
                request.model_name, request.model_version, CallContext(context.deadline)
            )
            rows = rows_allowed(config)
        except InferenceError:
            rows = 0  # the call itself will tell what is wrong
        if len(self._permissions) > 10_000:
            self._permissions.clear()
        self._permissions[request.model_name, request.model_version] = _Permission(
            rows, time.monotonic() + PERMISSION_SECONDS
        )
        return rows

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await super().close()


def rows_allowed(config: pb.ModelConfig) -> int:
    """How many rows may be gathered for a model: 0 unless `dynamic_batching` and `max_batch_size` are both set."""
    if not config.HasField("dynamic_batching") or config.max_batch_size <= 1:
        return 0
    preferred = config.dynamic_batching.preferred_batch_size
    return min(max(preferred) if preferred else DEFAULT_ROWS, config.max_batch_size)


def _rows(request: InferRequest) -> int:
    """Rows of a request that may be joined with others; 0 when it must go alone."""
    if request.parameters or not request.inputs or any(output.parameters for output in request.outputs):
        return 0
    first = request.inputs[0].shape
    rows = first[0] if first else 0
    return rows if all(tensor.shape[:1] == (rows,) for tensor in request.inputs) else 0


def _key(request: InferRequest) -> Key:
    """Equal for requests that differ in nothing but their rows and ids."""
    inputs = tuple([(tensor.name, tensor.datatype.name, tensor.shape[1:]) for tensor in request.inputs])
    return request.model_name, request.model_version, inputs, tuple([output.name for output in request.outputs])


def _gather(lane: _Lane) -> list[_Waiting]:
    """The callers that leave now, in order, up to the lane's limit of rows; those that have gone are dropped."""
    group: list[_Waiting] = []
    rows = 0
    while lane.waiting:
        one = lane.waiting[0]
        if one.future.done():
            lane.waiting.popleft()
        elif rows + one.rows <= lane.limit or not group:
            group.append(lane.waiting.popleft())
            rows += one.rows
        else:
            break
    return group


def _joined(group: Sequence[_Waiting]) -> InferRequest:
    first = group[0].request
    inputs = [_concatenated(tensors) for tensors in zip(*(one.request.inputs for one in group), strict=True)]
    return InferRequest(first.model_name, inputs, first.model_version, "", first.outputs)


def _concatenated(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    shape = (sum(tensor.shape[0] for tensor in tensors), *first.shape[1:])
    if first.datatype.kind == "bytes":
        return Tensor(first.name, first.datatype, shape, array=np.concatenate([tensor.array for tensor in tensors]))
    return Tensor(first.name, first.datatype, shape, raw=b"".join([tensor.raw for tensor in tensors]))


def _apart(response: InferResponse, group: Sequence[_Waiting]) -> list[InferResponse]:
    """Each caller's rows of every output; FAILED_PRECONDITION when an output does not have a row for each input row."""
    total = sum(one.rows for one in group)
    if any(tensor.shape[:1] != (total,) for tensor in response.outputs):
        raise InferenceError(
            Code.FAILED_PRECONDITION, "an output of the model does not have one row for each input row"
        )
    answers: list[InferResponse] = []
    at = 0
    for one in group:
        outputs = [_slice(tensor, at, at + one.rows) for tensor in response.outputs]
        answers.append(InferResponse(response.model_name, response.model_version, outputs, one.request.id))
        at += one.rows
    return answers


def _slice(tensor: Tensor, start: int, end: int) -> Tensor:
    part: Any = tensor.array[start:end]
    return Tensor(tensor.name, tensor.datatype, part.shape, array=part)


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
