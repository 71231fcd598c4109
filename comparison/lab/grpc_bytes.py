"""Unary gRPC calls whose messages are bytes of our own making: JSON text (the encoding of `rest` over the transport of
`grpc`), or what `grpc` sends, compressed both ways by gRPC's gzip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio

from crossover.clients import grpc_unary
from crossover.comparison.lab.stock_grpc import UNLIMITED
from crossover.comparison.lab.wires import GRPC_PORT, address
from crossover.endpoints.grpc.errors import STATUS_CODES
from crossover.protocol import timeline
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.deadline import timeout_of
from crossover.protocol.errors import InferenceError, code_from_grpc
from crossover.protocol.inference import CallContext, Wrapper
from crossover.transport.grpcio.poller import patient_poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.protocol.inference import Inference
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.protocol.wires import Target

_MODEL = "lab-model"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to fill the messages."""

    method: str
    encode_request: Callable[[InferRequest], bytes]
    decode_request: Callable[[bytes, str], InferRequest]
    """Body and model name in."""
    encode_response: Callable[[InferResponse], bytes]
    decode_response: Callable[[bytes], InferResponse]
    compression: grpc.Compression = grpc.Compression.NoCompression


JSON = Kind(
    "/lab.Json/ModelInfer",
    json_codec.encode_request,
    lambda body, model: json_codec.decode_request(body, model)[0],
    json_codec.encode_response,
    json_codec.decode_response,
)
GZIP = Kind(
    "/lab.Gzip/ModelInfer",
    protobuf_codec.encode_request,
    lambda body, _: protobuf_codec.decode_request(body),
    protobuf_codec.encode_response,
    protobuf_codec.decode_response,
    grpc.Compression.Gzip,
)


def handler(kind: Kind, inference: Inference) -> Any:
    """Bytes in, bytes out."""

    async def infer(body: bytes, rpc: aio.ServicerContext) -> bytes:
        metadata = {key: str(value) for key, value in rpc.invocation_metadata() or ()}
        context = CallContext()
        if timeline.HEADER in metadata:
            context.timeline = timeline.Timeline()
        context.mark("received")
        try:
            request = kind.decode_request(body, metadata.get(_MODEL, ""))
            context.mark("decoded")
            reply = kind.encode_response(await inference.infer(request, context))
        except InferenceError as error:
            await rpc.abort(STATUS_CODES[error.code.status.grpc], error.message)
        if context.timeline is not None:
            context.timeline.mark("encoded")
            rpc.set_trailing_metadata(((timeline.HEADER, context.timeline.to_header()),))
        if kind.compression is not grpc.Compression.NoCompression:
            rpc.set_compression(kind.compression)
        return reply

    return grpc.unary_unary_rpc_method_handler(infer)


def connect_json(target: Target) -> Inference:
    return GrpcBytes(JSON, target)


def connect_gzip(target: Target) -> Inference:
    return GrpcBytes(GZIP, target)


class GrpcBytes(Wrapper):
    """Infer calls carry the bytes of a kind; everything else goes over plain gRPC."""

    def __init__(self, kind: Kind, target: Target) -> None:
        super().__init__(grpc_unary.connect(target))
        self._kind = kind
        self._target = target
        self._channel: Any = None
        self._call: Any = None

    def _stub(self) -> Any:
        if self._call is None:
            where = address(self._target, GRPC_PORT)
            with patient_poller():
                self._channel = aio.insecure_channel(where, UNLIMITED, compression=self._kind.compression)
            self._call = self._channel.unary_unary(self._kind.method)
        return self._call

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        body = self._kind.encode_request(request)
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
        response = self._kind.decode_response(reply)
        context.mark("read")
        return response

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        await self.inner.close()
