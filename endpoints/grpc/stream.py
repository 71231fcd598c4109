"""ModelStreamInfer: many calls over one stream, each answered when it is ready (Triton's extension).

The RPC stays OK whatever happens to one request: its error travels in `error_message`, with the request's id and the
name of our code beside it, so that a client with several requests under way knows whose it is. Deadlines, cancelling and
headers travel in the stream's own messages (protocol/streaming.py), where gRPC's own would concern the whole stream.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from crossover.endpoints.grpc.errors import as_inference_error, log
from crossover.endpoints.grpc.span import Span
from crossover.protocol import streaming
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.messages import InferRequest
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from crossover.endpoints.grpc.servicer import Servicer

EMPTY_FINAL, FINAL = "triton_enable_empty_final_response", "triton_final_response"
MOST_AT_ONCE = 1024
"""Requests of one stream under way; the stream is not read on beyond, so that the sender feels it."""


class StreamOfCalls:
    """One open stream."""

    def __init__(self, servicer: Servicer, rpc: Any) -> None:
        self._servicer = servicer
        self._rpc = rpc
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._writing = asyncio.Lock()
        self._unwritable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, requests: Any) -> None:
        """Read until the client closes its side or the service stops, then finish what is under way.

        A stream that cannot be written to is ended: its client would wait for ever for what was lost.
        """
        reading = asyncio.create_task(self._read(requests))
        stopping = asyncio.create_task(self._servicer.draining.wait())
        try:
            await asyncio.wait((reading, stopping, self._unwritable), return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            reading.cancel()
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            for task in (reading, stopping, *self._tasks):
                task.cancel()

    async def _read(self, requests: Any) -> None:
        async for data in requests:
            await self._begin(data)

    async def _begin(self, data: bytes) -> None:
        received = time.monotonic_ns()
        try:
            self._servicer.check_size(data)
            request = protobuf_codec.decode_request(data)
        except InferenceError as error:
            await self._write(streaming.error_message(_id_of(data), error))
            return
        cancelled = streaming.cancelled_by(request)
        if cancelled is not None:
            if cancelled in self._calls:
                self._calls[cancelled].cancel()
            return
        await self._room.acquire()
        task = asyncio.create_task(self._call(request, received))
        self._tasks.add(task)
        self._calls[request.id] = task
        task.add_done_callback(lambda done: self._ended(request.id, done))

    def _ended(self, identity: str, task: asyncio.Task[None]) -> None:
        self._room.release()
        self._tasks.discard(task)
        self._forget(identity, task)

    def _forget(self, identity: str, task: asyncio.Task[None] | None) -> None:
        if self._calls.get(identity) is task:
            del self._calls[identity]

    async def _call(self, request: InferRequest, received: int) -> None:
        identity = request.id
        span = Span(self._servicer.observer, "ModelStreamInfer")
        span.model = request.model_name
        try:
            try:
                message = await self._answer(request, received)
            except Exception as caught:  # noqa: BLE001 - the last handler of this request
                error = as_inference_error(caught)
                span.code = error.code
                message = streaming.error_message(identity, error)
            self._forget(identity, asyncio.current_task())  # a write cancelled half way would block all that follow
            await self._write(message)
        except asyncio.CancelledError:
            span.code = Code.CANCELLED
        finally:
            span.end()

    async def _answer(self, request: InferRequest, received: int) -> bytes:
        context = self._servicer.context_of(self._rpc)
        streaming.take_context(request, context)
        if context.timeline is not None:
            context.timeline.stamps["received"] = received
            context.mark("decoded")
        final = request.parameters.get(EMPTY_FINAL) is True
        typed = request.parameters.pop(protobuf_codec.TYPED_OUTPUTS, False) is True
        response = await self._servicer.inferred(request, context)
        if final:
            response.parameters[FINAL] = True
        if context.timeline is not None:
            context.mark("encoded")
            response.parameters[streaming.TIMELINE] = context.timeline.to_header()
        message = protobuf_codec.encode_stream_response(response, typed=typed)
        self._servicer.check_size(message, "reply")
        return message

    async def _write(self, message: bytes) -> None:
        async with self._writing:
            try:
                await self._rpc.write(message)
            except Exception as error:  # noqa: BLE001 - gRPC raises several kinds for a client that has gone away
                log.debug("a stream's client went away before its answer: %s", error)
                if not self._unwritable.done():
                    self._unwritable.set_result(None)


def _id_of(data: bytes) -> str:
    """The id of a request that could not be taken, as far as it can be read."""
    try:
        return pb.ModelInferRequest.FromString(data).id
    except Exception:  # noqa: BLE001 - protobuf raises several kinds for one cause
        return ""
