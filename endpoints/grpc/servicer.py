"""`inference.GRPCInferenceService` around any `Inference`.

Handlers take and give bytes, so that a message that can't be decoded is answered here, by the same table as every other
error, and large tensors are not copied by a serializer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from endpoints.grpc.stream import StreamOfCalls
from protocol import deadline, protobuf_codec, timeline
from protocol.errors import Code, InferenceError, invalid
from protocol.grpc_errors import DETAILS_KEY, details_of
from protocol.inference import CallContext, Inference
from protos import inference as pb

if TYPE_CHECKING:
    from endpoints.metrics import Observer

log = logging.getLogger("crossover.grpc")

STATUS_CODES = {status.value[0]: status for status in grpc.StatusCode}
TRAVELLING = ("traceparent", "tracestate", "x-request-id")


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """What a gRPC endpoint allows."""

    max_message_bytes: int = 64 << 20
    """Largest message either way, in bytes."""
    default_timeout_ms: int | None = None
    """Upper bound of every call's time; a request can only ask for less."""
    repository_control: bool = True
    """False: load and unload are PERMISSION_DENIED."""


def as_inference_error(error: Exception) -> InferenceError:
    """What the caller may know of any exception; the rest goes to the log."""
    if isinstance(error, InferenceError):
        return error
    log.error("a call failed inside the service", exc_info=error)
    return InferenceError(Code.INTERNAL, "the service failed inside; its log has the reason")


class Servicer:
    """The service's methods, by name; `handlers()` is what a server takes."""

    def __init__(self, inference: Inference, options: GrpcOptions, observer: Observer | None) -> None:
        self.inference = inference
        self.options = options
        self._observer = observer
        self._default_timeout = options.default_timeout_ms / 1000 if options.default_timeout_ms else None

    def handlers(self) -> grpc.GenericRpcHandler:
        calls: dict[str, Callable[[Any, CallContext], Awaitable[Any]]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        table = {name: grpc.unary_unary_rpc_method_handler(self._control(name, call)) for name, call in calls.items()}
        table["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self._model_infer)
        table["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._model_stream_infer)
        return grpc.method_handlers_generic_handler(pb.SERVICE, table)

    def context_of(self, rpc: Any) -> CallContext:
        """Deadline, travelling headers and the wish for a timeline, from a call's metadata."""
        until = deadline.after(rpc.time_remaining())
        if self._default_timeout is not None:
            until = min(until, deadline.after(self._default_timeout))
        context = CallContext(until)
        for name, value in rpc.invocation_metadata() or ():
            if name in TRAVELLING:
                context.headers[name] = value
            elif name == timeline.HEADER:
                context.timeline = timeline.Timeline()
                context.timeline.mark("received")
        return context

    async def _model_infer(self, data: bytes, rpc: Any) -> bytes:
        began = time.perf_counter()
        observer, model, code = self._observer, "", None
        if observer is not None:
            observer.started("grpc")
        try:
            context = self.context_of(rpc)
            self.check_size(data)
            request = protobuf_codec.decode_request(data)
            model = request.model_name
            reply = await self._answer(request, context)
            if context.timeline is not None:
                context.mark("encoded")
                rpc.set_trailing_metadata(((timeline.HEADER, context.timeline.to_header()),))
            return reply
        except asyncio.CancelledError:
            code = Code.CANCELLED
            raise
        except Exception as caught:  # noqa: BLE001 - the last handler: no exception may leave as UNKNOWN with its class
            error = as_inference_error(caught)
            code = error.code
            await abort(rpc, error)
            raise AssertionError from None
        finally:
            if observer is not None:
                observer.finished("grpc", "ModelInfer", model, code, time.perf_counter() - began)

    async def _answer(self, request: Any, context: CallContext) -> bytes:
        typed = request.parameters.pop(protobuf_codec.TYPED_OUTPUTS, False) is True
        asked = deadline.from_parameter(request.parameters.get("timeout"))
        context.deadline = min(context.deadline, asked)
        context.mark("decoded")
        response = await self.inference.infer(request, context)
        reply = protobuf_codec.encode_response(response, typed=typed)
        self.check_size(reply, "reply")
        return reply

    def check_size(self, data: bytes, what: str = "request") -> None:
        if len(data) > self.options.max_message_bytes:
            raise InferenceError(
                Code.TOO_LARGE,
                f"the {what} message has {len(data)} bytes; the limit is {self.options.max_message_bytes} "
                "(MAX_MESSAGE_BYTES)",
            )

    async def _model_stream_infer(self, requests: Any, rpc: Any) -> None:
        await StreamOfCalls(self, rpc, self._observer).run(requests)

    def _control(self, name: str, call: Callable[[Any, CallContext], Awaitable[Any]]) -> Any:
        message = pb.METHODS[name].request

        async def handle(data: bytes, rpc: Any) -> bytes:
            began, code = time.perf_counter(), None
            if self._observer is not None:
                self._observer.started("grpc")
            try:
                self.check_size(data)
                return (await call(parsed(message, data), self.context_of(rpc))).SerializeToString()
            except Exception as caught:  # noqa: BLE001 - as above
                error = as_inference_error(caught)
                code = error.code
                await abort(rpc, error)
                raise AssertionError from None
            finally:
                if self._observer is not None:
                    self._observer.finished("grpc", name, "", code, time.perf_counter() - began)

        return handle

    async def _server_live(self, _: Any, context: CallContext) -> Any:
        return pb.ServerLiveResponse(live=await self.inference.server_live(context))

    async def _server_ready(self, _: Any, context: CallContext) -> Any:
        return pb.ServerReadyResponse(ready=await self.inference.server_ready(context))

    async def _model_ready(self, request: Any, context: CallContext) -> Any:
        return pb.ModelReadyResponse(ready=await self.inference.model_ready(request.name, request.version, context))

    async def _server_metadata(self, _: Any, context: CallContext) -> Any:
        return await self.inference.server_metadata(context)

    async def _model_metadata(self, request: Any, context: CallContext) -> Any:
        return await self.inference.model_metadata(request.name, request.version, context)

    async def _model_config(self, request: Any, context: CallContext) -> Any:
        return pb.ModelConfigResponse(config=await self.inference.model_config(request.name, request.version, context))

    async def _model_statistics(self, request: Any, context: CallContext) -> Any:
        return await self.inference.model_statistics(request.name, request.version, context)

    async def _repository_index(self, request: Any, context: CallContext) -> Any:
        refuse_named_repository(request.repository_name)
        return await self.inference.repository_index(request.ready, context)

    async def _load(self, request: Any, context: CallContext) -> Any:
        parameters = self._controlled(request)
        await self.inference.load_model(request.model_name, parameters, context)
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, request: Any, context: CallContext) -> Any:
        parameters = self._controlled(request)
        await self.inference.unload_model(request.model_name, parameters, context)
        return pb.RepositoryModelUnloadResponse()

    def _controlled(self, request: Any) -> dict[str, Any]:
        refuse_named_repository(request.repository_name)
        if not self.options.repository_control:
            raise InferenceError(Code.PERMISSION_DENIED, "loading and unloading models is switched off here")
        return protobuf_codec.repository_parameters(request.parameters)


def refuse_named_repository(name: str) -> None:
    if name:
        raise InferenceError(Code.UNIMPLEMENTED, "there is one repository here; leave repository_name empty")


def parsed(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except Exception:  # noqa: BLE001 - protobuf raises several kinds for one cause
        raise invalid(f"the message is not a {message.DESCRIPTOR.full_name}: it can't be decoded as protobuf") from None


async def abort(rpc: Any, error: InferenceError) -> None:
    """End the call with the error's status, its text and its details; never returns."""
    await rpc.abort(STATUS_CODES[error.code.status.grpc], error.message, ((DETAILS_KEY, details_of(error)),))
