"""JSON text as a gRPC message: the encoding of `rest` over the transport of `grpc`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from clients import grpc_unary
from comparison.lab.stock_grpc import UNLIMITED
from comparison.lab.wires import GRPC_PORT, address
from protocol import json_codec, timeline
from protocol.deadline import timeout_of
from protocol.errors import InferenceError, code_from_grpc
from protocol.inference import CallContext, Wrapper

if TYPE_CHECKING:
    from protocol.inference import Inference
    from protocol.messages import InferRequest, InferResponse
    from protocol.wires import Target

METHOD = "/lab.Json/ModelInfer"
_MODEL = "lab-model"


def handler(inference: Inference) -> Any:
    """Bytes in, bytes out: our JSON codec, as on the REST routes."""

    async def infer(body: bytes, rpc: aio.ServicerContext) -> bytes:
        metadata = {key: str(value) for key, value in rpc.invocation_metadata() or ()}
        context = CallContext()
        if timeline.HEADER in metadata:
            context.timeline = timeline.Timeline()
        context.mark("received")
        try:
            request, _ = json_codec.decode_request(body, metadata.get(_MODEL, ""))
            context.mark("decoded")
            reply = json_codec.encode_response(await inference.infer(request, context))
        except InferenceError as error:
            await rpc.abort(_status(error), error.message)
        if context.timeline is not None:
            context.timeline.mark("encoded")
            rpc.set_trailing_metadata(((timeline.HEADER, context.timeline.to_header()),))
        return reply

    return grpc.unary_unary_rpc_method_handler(infer)


def connect(target: Target) -> Inference:
    return GrpcJson(target)


class GrpcJson(Wrapper):
    """Infer calls carry JSON; everything else goes over plain gRPC."""

    def __init__(self, target: Target) -> None:
        super().__init__(grpc_unary.connect(target))
        self._target = target
        self._channel: Any = None
        self._call: Any = None

    def _stub(self) -> Any:
        if self._call is None:
            self._channel = aio.insecure_channel(address(self._target, GRPC_PORT), UNLIMITED)
            self._call = self._channel.unary_unary(METHOD)
        return self._call

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        body = json_codec.encode_request(request)
        context.bytes_sent = len(body)
        metadata = [(_MODEL, request.model_name)]
        if context.timeline is not None:
            metadata.append((timeline.HEADER, "1"))
        call = self._stub()(body, timeout=timeout_of(context.deadline), metadata=tuple(metadata))
        context.mark("sent")
        try:
            reply = await call
            context.mark("answered")
            if context.timeline is not None:
                for key, value in await call.trailing_metadata() or ():
                    if key == timeline.HEADER:
                        context.timeline.adopt(value)
        except aio.AioRpcError as error:
            raise InferenceError(code_from_grpc(error.code().value[0]), error.details() or "") from None
        context.bytes_received = len(reply)
        response = json_codec.decode_response(reply)
        context.mark("read")
        return response

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        await self.inner.close()


def _status(error: InferenceError) -> Any:
    return next(code for code in grpc.StatusCode if code.value[0] == error.code.status.grpc)
