"""`inference.GRPCInferenceService` around any `Inference`.

Handlers take and give bytes, so that a message that can't be decoded is answered here, by the same table as every other
error, and large tensors are not copied by a serializer.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from crossover.endpoints.grpc.errors import abort, as_inference_error, parsed, too_large
from crossover.endpoints.grpc.span import Span
from crossover.endpoints.grpc.stream import StreamOfCalls
from crossover.protocol import deadline, timeline
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.propagation import PROPAGATED
from crossover.protos import inference as pb
from crossover.transport import eager_start as first_step
from crossover.transport.eager_start import waiting
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from crossover.service.metrics import Observer

_CHANGES_REPOSITORY = {"RepositoryModelLoad", "RepositoryModelUnload"}


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """What a gRPC endpoint allows."""

    max_message_bytes: int = 64 << 20
    """Largest message either way, in bytes."""
    default_timeout_ms: int | None = None
    """Upper bound of every call's time; a request can only ask for less."""
    repository_control: bool = True
    """False: load and unload are PERMISSION_DENIED."""


class Servicer:
    """The service's methods; `handlers()` is what a server takes, and `draining` ends what has no end of its own."""

    def __init__(self, inference: Inference, options: GrpcOptions, observer: Observer | None) -> None:
        self.options = options
        self.observer = observer
        self.draining = asyncio.Event()
        self._inference = inference
        self._infer_now = getattr(inference, "infer_now", None)
        self._default_timeout = options.default_timeout_ms / 1000 if options.default_timeout_ms else None

    def handlers(self) -> grpc.GenericRpcHandler:
        table = {
            name: grpc.unary_unary_rpc_method_handler(self._control(name))
            for name, method in pb.METHODS.items()
            if name != "ModelInfer" and not method.client_streaming
        }
        table["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self.model_infer)
        table["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._model_stream_infer)
        return grpc.method_handlers_generic_handler(pb.SERVICE, table)

    def context_of(self, rpc: Any) -> CallContext:
        """Deadline, travelling headers and the wish for a timeline, from a call's metadata."""
        until = deadline.after(rpc.time_remaining())
        if self._default_timeout is not None:
            until = min(until, deadline.after(self._default_timeout))
        context = CallContext(until)
        for name, value in rpc.invocation_metadata() or ():
            if name in PROPAGATED:
                context.headers[name] = value
            elif name == timeline.HEADER:
                context.timeline = timeline.Timeline()
                context.mark("received")
        return context

    async def inferred(self, request: InferRequest, context: CallContext) -> InferResponse:
        """The answer within the deadline, whoever keeps time behind this. It needs no task before it waits."""
        if "timeout" in request.parameters:
            context.deadline = min(context.deadline, deadline.from_parameter(request.parameters["timeout"]))
        deadline.check(context.deadline, "before the work was begun")
        response = self._infer_now(request, context) if self._infer_now is not None else None
        if response is not None:
            return response
        await waiting()
        try:
            with TimeLimit(context.deadline):
                return await self._inference.infer(request, context)
        except TimeoutError:
            raise deadline.exceeded("before the answer was ready") from None

    def check_size(self, data: bytes, what: str = "request") -> None:
        if len(data) > self.options.max_message_bytes:
            raise too_large(len(data), self.options.max_message_bytes, what)

    @first_step.allowed
    async def model_infer(self, data: bytes, rpc: Any) -> bytes:
        """One ModelInfer; `rpc` needs of grpc.aio's ServicerContext the four methods that are called here."""
        span = Span(self.observer, "ModelInfer")
        try:
            context = self.context_of(rpc)
            self.check_size(data)
            request = protobuf_codec.decode_request(data)
            span.model = request.model_name
            typed = request.parameters.pop(protobuf_codec.TYPED_OUTPUTS, False) is True
            context.mark("decoded")
            reply = protobuf_codec.encode_response(await self.inferred(request, context), typed=typed)
            self.check_size(reply, "reply")
            if context.timeline is not None:
                context.mark("encoded")
                rpc.set_trailing_metadata(((timeline.HEADER, context.timeline.to_header()),))
            return reply
        except asyncio.CancelledError:
            span.code = Code.CANCELLED
            raise
        except Exception as caught:  # noqa: BLE001 - the last handler: no exception may leave as UNKNOWN with its class
            error = as_inference_error(caught)
            span.code = error.code
            await abort(rpc, error)
            raise AssertionError from None
        finally:
            span.end()

    async def _model_stream_infer(self, requests: Any, rpc: Any) -> None:
        await StreamOfCalls(self, rpc).run(requests)

    def _admit(self, name: str, request: Any) -> None:
        if getattr(request, "repository_name", ""):
            raise InferenceError(Code.UNIMPLEMENTED, "there is one repository here; leave repository_name empty")
        if name in _CHANGES_REPOSITORY and not self.options.repository_control:
            raise InferenceError(Code.PERMISSION_DENIED, "loading and unloading models is switched off here")

    def _control(self, name: str) -> Any:
        message = pb.METHODS[name].request

        async def handle(data: bytes, rpc: Any) -> bytes:
            span = Span(self.observer, name)
            try:
                self.check_size(data)
                request, context = parsed(message, data), self.context_of(rpc)
                self._admit(name, request)
                reply: bytes = (await self._inference.control(name, request, context)).SerializeToString()
                self.check_size(reply, "reply")
                return reply
            except asyncio.CancelledError:
                span.code = Code.CANCELLED
                raise
            except Exception as caught:  # noqa: BLE001 - as above
                error = as_inference_error(caught)
                span.code = error.code
                await abort(rpc, error)
                raise AssertionError from None
            finally:
                span.end()

        return handle
