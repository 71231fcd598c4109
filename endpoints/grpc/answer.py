"""One function answers a gRPC call, whoever brought it: grpcio, our own HTTP/2, or a stream for each of its messages.

The stations of a call, each once, in this order: metrics begin, the door (who may call), context (deadline, propagated
headers, timeline), size of the request, memory, decoding, admission, the deadline around the work, encoding, size of the
reply, the error's code, metrics end. What differs between methods is an `Operation`; what brings calls adds only how bytes
come and go.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from crossover.endpoints.control_policy import EVERYTHING, ControlPolicy
from crossover.endpoints.grpc.errors import as_inference_error, too_large
from crossover.endpoints.grpc.guard import Caller, check_call
from crossover.endpoints.grpc.operations import CHANGES_REPOSITORY, SHARED_MEMORY
from crossover.protocol import deadline, timeline
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.limits import HEAVY_BYTES, MAX_PARAMETERS, check_count, is_heavy
from crossover.protocol.names import check_model_name
from crossover.protocol.propagation import PROPAGATED, REQUEST_ID, request_id_of
from crossover.protos import inference as pb
from crossover.service import log
from crossover.transport.connection_age import ENDLESS, ConnectionAge
from crossover.transport.eager_start import waiting
from crossover.transport.loop_admission import admit
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crossover.endpoints.grpc.operations import Operation
    from crossover.protocol.inference import Inference
    from crossover.service.doors import Door
    from crossover.service.metrics import Observer
    from crossover.service.tracing import Tracer
    from crossover.transport.memory_budget import MemoryBudget

T = TypeVar("T")
_UNCOUNTED_BYTES = 1 << 10
"""A request message of no more is not counted: the call itself takes several times as much, in the library that brings it."""


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """What a gRPC endpoint allows."""

    max_message_bytes: int = 64 << 20
    """Largest message either way, in bytes."""
    default_timeout_ms: int | None = None
    """Upper bound of every call's time; a request can only ask for less."""
    control: ControlPolicy = EVERYTHING
    """What is allowed of load and unload."""
    door: Door | None = None
    """Who may call; None for everybody."""
    budget: MemoryBudget | None = None
    """The memory that all requests in flight of the process may hold; None: no bound."""
    tracer: Tracer | None = None
    """Makes spans of inferences; None: nobody does."""
    age: ConnectionAge = ENDLESS
    """How old connections may get."""
    shared: bool = False
    """Other processes listen on the same port."""


class CallDetails(Caller, Protocol):
    """What is asked of grpc.aio's ServicerContext, and of whatever stands in for it."""

    def time_remaining(self) -> float | None:
        """Seconds until the client's deadline; None without one."""


async def _in_thread(work: Callable[[Any, CallContext], T], subject: Any, context: CallContext) -> T:
    await waiting()
    return await asyncio.to_thread(work, subject, context)


def _say_id(operation: Operation, headers: Mapping[str, str]) -> str:
    """The call's id, which goes back in its trailing metadata. A call that brings none has one when it fails."""
    identity = request_id_of(headers.get(REQUEST_ID))
    operation.trailing = (*operation.trailing, (REQUEST_ID, identity))
    return identity


def _spoken(operation: Operation, model: str, code: Code | None) -> dict[str, str | int]:
    """What a span says of its call, in OpenTelemetry's names."""
    return {
        "rpc.system": "grpc",
        "rpc.service": pb.SERVICE,
        "rpc.method": operation.method,
        "rpc.grpc.status_code": code.status.grpc if code is not None else 0,
        "crossover.model": model,
    }


def _text_of(call: CallDetails) -> dict[str, str]:
    return {name: value for name, value in call.invocation_metadata() or () if isinstance(value, str)}


def _no_memory() -> InferenceError:
    return InferenceError(Code.OVERLOADED, "the requests in flight hold all the memory that MAX_IN_FLIGHT_BYTES allows")


class Answering:
    """Answers the calls of one port."""

    def __init__(self, inference: Inference, options: GrpcOptions, observer: Observer | None) -> None:
        self.options = options
        self._limit = options.max_message_bytes
        self._inference = inference
        self._infer_now = getattr(inference, "infer_now", None)
        self._observer = observer
        self._door = options.door if options.door is not None and options.door.asks_callers else None
        self._default_timeout = options.default_timeout_ms / 1000 if options.default_timeout_ms else None

    async def answer(self, operation: Operation, data: bytes, call: CallDetails) -> bytes:
        """The reply message; InferenceError is what the caller is to be told. It needs no task before it waits."""
        began = time.perf_counter()
        if self._observer is not None:
            self._observer.started("grpc")
        model, code = "", None
        budget, held = self.options.budget, 0
        context: CallContext | None = None
        tracer, trace = self.options.tracer, None
        try:
            if self._door is not None:
                check_call(self._door, f"/{pb.SERVICE}/{operation.method}", call)
            context = self._context(call)
            if len(data) > self._limit:
                raise self._too_large(len(data), "request")
            if budget is not None and len(data) > _UNCOUNTED_BYTES:
                if not budget.reserve(len(data)):
                    raise _no_memory()
                held = len(data)
            # much of typed contents is read, and below written, in a thread
            heavy = len(data) >= HEAVY_BYTES and operation.infers and is_heavy(protobuf_codec.typed_bytes(data))
            request = await _in_thread(operation.decode, data, context) if heavy else operation.decode(data, context)
            if operation.infers:
                model = request.model_name
                if tracer is not None:
                    trace = tracer.begin(context, round(began * 1e9))  # on Linux the performance counter is that clock
            if context.timeline is not None:
                context.timeline.mark("decoded")
            self._admit(operation, request, context)
            deadline.check(context.deadline, "before the work was begun")
            answer = None
            if operation.infers and self._infer_now is not None:
                answer = self._infer_now(request, context)
            if answer is None:
                answer = await self._performed(operation, request, context)
            if trace is not None and not trace.tells_timeline:
                context.timeline = None
            least = operation.size_at_least(answer)
            if least > self._limit:
                raise self._too_large(least, "reply")
            heavy = operation.typed and is_heavy(least)
            reply = await _in_thread(operation.encode, answer, context) if heavy else operation.encode(answer, context)
            if len(reply) > self._limit:
                raise self._too_large(len(reply), "reply")
            if REQUEST_ID in context.headers:
                _say_id(operation, context.headers)
            return reply
        except asyncio.CancelledError:
            code = Code.CANCELLED
            raise
        except Exception as caught:  # noqa: BLE001 - the last handler: no exception may leave as UNKNOWN with its class
            identity = _say_id(operation, context.headers if context is not None else _text_of(call))
            error = as_inference_error(caught, identity)
            code = error.code
            try:
                raise error from None
            finally:
                del error  # its traceback has this frame: together they would wait for the garbage collector
        finally:
            if budget is not None and held:
                budget.release(held)
            if self._observer is not None:
                self._observer.finished("grpc", operation.method, model, code, time.perf_counter() - began)
            if trace is not None and tracer is not None:
                tracer.end(trace, f"{pb.SERVICE}/{operation.method}", _spoken(operation, model, code), code)

    def check_stream(self, method: str, call: CallDetails) -> None:
        """Whether a stream may be opened; its messages come to `answer`, and count, one by one."""
        if self._door is not None:
            check_call(self._door, f"/{pb.SERVICE}/{method}", call, counted=False)

    def _context(self, call: CallDetails) -> CallContext:
        """Deadline, propagated headers and the wish for a timeline, from a call's metadata."""
        seconds, most = call.time_remaining(), self._default_timeout
        if most is not None and (seconds is None or most < seconds):
            seconds = most
        context = CallContext(deadline.after(seconds))
        for name, value in call.invocation_metadata() or ():
            if name in PROPAGATED:
                context.headers[name] = str(value)
            elif name == timeline.HEADER:
                context.timeline = timeline.Timeline()
                context.mark("received")
        return context

    def _admit(self, operation: Operation, request: Any, context: CallContext) -> None:
        """Whether the call may be made here."""
        if operation.infers:
            check_model_name(request.model_name)
            if request.shared is not None:
                self.options.control.check_shared_memory()
            admit(request.model_name, context.deadline)
            return
        check_model_name(getattr(request, "model_name", "") or getattr(request, "name", ""))
        if getattr(request, "repository_name", ""):
            raise InferenceError(Code.UNIMPLEMENTED, "there is one repository here; leave repository_name empty")
        if SHARED_MEMORY in operation.method:
            self.options.control.check_shared_memory()
        if operation.method in CHANGES_REPOSITORY:
            check_count(request.parameters, MAX_PARAMETERS, "parameters")
            self.options.control.check(request.parameters)

    def _too_large(self, size: int, what: str) -> InferenceError:
        return too_large(size, self._limit, what)

    async def _performed(self, operation: Operation, request: Any, context: CallContext) -> Any:
        """The reply within the deadline."""
        await waiting()
        log.request_id.set(context.headers.get(REQUEST_ID, ""))
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
