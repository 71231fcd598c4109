"""One function answers a gRPC call, whoever brought it: grpcio, our own HTTP/2, or a stream for each of its messages.

The stations of a call, each once, in this order: metrics begin, context (deadline, propagated headers, timeline),
size of the request, decoding, admission, the deadline around the work, encoding, size of the reply, the error's code,
metrics end. What differs between methods is an `Operation`; what brings calls adds only how bytes come and go.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from crossover.endpoints.grpc.errors import as_inference_error, too_large
from crossover.endpoints.grpc.operations import CHANGES_REPOSITORY
from crossover.endpoints.grpc.request_metrics import RequestMetrics
from crossover.protocol import deadline, timeline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.propagation import PROPAGATED
from crossover.transport.eager_start import waiting
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from crossover.endpoints.grpc.operations import Operation
    from crossover.protocol.inference import Inference
    from crossover.service.metrics import Observer
    from crossover.transport.grpc.metadata import Metadata


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """What a gRPC endpoint allows."""

    max_message_bytes: int = 64 << 20
    """Largest message either way, in bytes."""
    default_timeout_ms: int | None = None
    """Upper bound of every call's time; a request can only ask for less."""
    repository_control: bool = True
    """False: load and unload are PERMISSION_DENIED."""


class CallDetails(Protocol):
    """What is asked of grpc.aio's ServicerContext, and of whatever stands in for it."""

    def time_remaining(self) -> float | None:
        """Seconds until the client's deadline; None without one."""

    def invocation_metadata(self) -> Metadata | None: ...


class Answering:
    """Answers the calls of one port."""

    def __init__(self, inference: Inference, options: GrpcOptions, observer: Observer | None) -> None:
        self.options = options
        self._inference = inference
        self._infer_now = getattr(inference, "infer_now", None)
        self._observer = observer
        self._default_timeout = options.default_timeout_ms / 1000 if options.default_timeout_ms else None

    async def answer(self, operation: Operation, data: bytes, call: CallDetails) -> bytes:
        """The reply message; InferenceError is what the caller is to be told. It needs no task before it waits."""
        metrics = RequestMetrics(self._observer, operation.method)
        try:
            context = self._context(call)
            self._check_size(data, "request")
            request = operation.decode(data, context)
            metrics.model = operation.model_of(request)
            context.mark("decoded")
            self._admit(operation, request)
            reply = operation.encode(await self._performed(operation, request, context), context)
            self._check_size(reply, "reply")
            return reply
        except asyncio.CancelledError:
            metrics.code = Code.CANCELLED
            raise
        except Exception as caught:  # noqa: BLE001 - the last handler: no exception may leave as UNKNOWN with its class
            error = as_inference_error(caught)
            metrics.code = error.code
            raise error from None
        finally:
            metrics.end()

    def _context(self, call: CallDetails) -> CallContext:
        """Deadline, propagated headers and the wish for a timeline, from a call's metadata."""
        until = deadline.after(call.time_remaining())
        if self._default_timeout is not None:
            until = min(until, deadline.after(self._default_timeout))
        context = CallContext(until)
        for name, value in call.invocation_metadata() or ():
            if name in PROPAGATED:
                context.headers[name] = str(value)
            elif name == timeline.HEADER:
                context.timeline = timeline.Timeline()
                context.mark("received")
        return context

    def _admit(self, operation: Operation, request: Any) -> None:
        """Whether the call may be made here."""
        if operation.infers:
            return
        if getattr(request, "repository_name", ""):
            raise InferenceError(Code.UNIMPLEMENTED, "there is one repository here; leave repository_name empty")
        if operation.method in CHANGES_REPOSITORY and not self.options.repository_control:
            raise InferenceError(Code.PERMISSION_DENIED, "loading and unloading models is switched off here")

    def _check_size(self, data: bytes, what: str) -> None:
        if len(data) > self.options.max_message_bytes:
            raise too_large(len(data), self.options.max_message_bytes, what)

    async def _performed(self, operation: Operation, request: Any, context: CallContext) -> Any:
        """The reply within the deadline."""
        deadline.check(context.deadline, "before the work was begun")
        if operation.infers and self._infer_now is not None:
            response = self._infer_now(request, context)
            if response is not None:
                return response
        await waiting()
        limit = TimeLimit(context.deadline)
        try:
            with limit:
                if operation.infers:
                    return await self._inference.infer(request, context)
                return await self._inference.control(operation.method, request, context)
        except TimeoutError:
            if not limit.passed:
                raise
            raise deadline.exceeded("before the answer was ready") from None
