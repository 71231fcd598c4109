"""ModelStreamInfer: many calls over one stream, each answered when it is ready (Triton's extension).

The RPC stays OK whatever happens to one request: its error travels in `error_message`, with the request's id and the
name of our code beside it, so that a client with several requests under way knows whose it is. Two request parameters
let deadlines and cancelling travel in the stream's own messages, where gRPC's own would end the whole stream:
`crossover_timeout_ms` (integer) and, in a message of its own, `crossover_cancel` (the id of the request to cancel).
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from protocol import deadline, protobuf_codec, timeline
from protocol.errors import Code, InferenceError
from protocol.messages import InferRequest, InferResponse
from protos import inference as pb

if TYPE_CHECKING:
    from endpoints.grpc.servicer import Servicer
    from endpoints.metrics import Observer
    from protocol.inference import CallContext

TIMEOUT, CANCEL, CODE = "crossover_timeout_ms", "crossover_cancel", "crossover_code"
TIMELINE = "crossover_timeline"
EMPTY_FINAL, FINAL = "triton_enable_empty_final_response", "triton_final_response"
MOST_AT_ONCE = 1024
"""Requests of one stream under way; the stream is not read on beyond, so that the sender feels it."""


class StreamOfCalls:
    """One open stream."""

    def __init__(self, servicer: Servicer, rpc: Any, observer: Observer | None) -> None:
        self._servicer = servicer
        self._rpc = rpc
        self._observer = observer
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._writing = asyncio.Lock()

    async def run(self, requests: Any) -> None:
        """Read until the client closes its side, then finish what is under way."""
        try:
            async for data in requests:
                await self._begin(data)
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _begin(self, data: bytes) -> None:
        try:
            self._servicer.check_size(data)
            request = protobuf_codec.decode_request(data)
        except InferenceError as error:
            await self._write_error(_id_of(data), error)
            return
        cancelled = request.parameters.get(CANCEL)
        if isinstance(cancelled, str):
            task = self._calls.get(cancelled)
            if task is not None:
                task.cancel()
            return
        await self._room.acquire()
        task = asyncio.create_task(self._call(request))
        self._tasks.add(task)
        self._calls[request.id] = task
        task.add_done_callback(lambda done: self._ended(request.id, done))

    def _ended(self, identity: str, task: asyncio.Task[None]) -> None:
        self._room.release()
        self._tasks.discard(task)
        if self._calls.get(identity) is task:
            del self._calls[identity]

    async def _call(self, request: InferRequest) -> None:
        began, code = time.perf_counter(), None
        if self._observer is not None:
            self._observer.started("grpc")
        try:
            await self._write(await self._answer(request))
        except asyncio.CancelledError:
            code = Code.CANCELLED
        except Exception as caught:  # noqa: BLE001 - the last handler of this request
            from endpoints.grpc.servicer import as_inference_error

            error = as_inference_error(caught)
            code = error.code
            await self._write_error(request.id, error)
        finally:
            if self._observer is not None:
                self._observer.finished(
                    "grpc", "ModelStreamInfer", request.model_name, code, time.perf_counter() - began
                )

    async def _answer(self, request: InferRequest) -> bytes:
        context = self._servicer.context_of(self._rpc)
        context.deadline = min(context.deadline, _asked(request))
        if request.parameters.pop(TIMELINE, None) is True:
            context.timeline = timeline.Timeline()
            context.mark("received")
        final = request.parameters.get(EMPTY_FINAL) is True
        typed = request.parameters.pop(protobuf_codec.TYPED_OUTPUTS, False) is True
        context.mark("decoded")
        response = await self._inferred(request, context)
        if final:
            response.parameters[FINAL] = True
        if context.timeline is not None:
            context.mark("encoded")
            response.parameters[TIMELINE] = context.timeline.to_header()
        return protobuf_codec.encode_stream_response(response, typed=typed)

    async def _inferred(self, request: InferRequest, context: CallContext) -> InferResponse:
        try:
            async with asyncio.timeout_at(None if context.deadline == deadline.NEVER else context.deadline):
                return await self._servicer.inference.infer(request, context)
        except TimeoutError:
            raise deadline.exceeded("while the model ran") from None

    async def _write(self, message: bytes) -> None:
        self._servicer.check_size(message, "reply")
        async with self._writing:
            await self._rpc.write(message)

    async def _write_error(self, identity: str, error: InferenceError) -> None:
        response = pb.ModelInferResponse(id=identity)
        response.parameters[CODE].string_param = error.code.name
        message = pb.ModelStreamInferResponse(error_message=error.message, infer_response=response)
        async with self._writing:
            await self._rpc.write(message.SerializeToString())


def _asked(request: InferRequest) -> float:
    until = deadline.from_parameter(request.parameters.get("timeout"))
    asked = request.parameters.pop(TIMEOUT, None)
    return until if asked is None else min(until, deadline.from_header(str(asked)))


def _id_of(data: bytes) -> str:
    """The id of a request that could not be taken, as far as it can be read."""
    try:
        return pb.ModelInferRequest.FromString(data).id
    except Exception:  # noqa: BLE001 - protobuf raises several kinds for one cause
        return ""
