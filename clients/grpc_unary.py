"""`grpc` and `grpc-typed`: one unary ModelInfer for each request, with raw or typed contents."""

from __future__ import annotations

from grpc import aio

from clients.grpc_channel import GrpcControl, error_of, unreadable
from protocol import deadline, protobuf_codec, timeline
from protocol.carrying import check_request, check_response
from protocol.errors import Code, InferenceError
from protocol.inference import CallContext
from protocol.messages import InferRequest, InferResponse
from protocol.wires import WIRES, Target


def connect(target: Target) -> GrpcUnary:
    """A client that sends raw contents."""
    return GrpcUnary(target)


def connect_typed(target: Target) -> GrpcUnary:
    """A client that sends typed contents and asks for typed ones; FP16 and BF16 have none (NOT_CARRIED)."""
    return GrpcUnary(target, typed=True)


class GrpcUnary(GrpcControl):
    """`Inference` over unary calls."""

    def __init__(self, target: Target, *, typed: bool = False) -> None:
        super().__init__(target)
        self._typed = typed
        self._wire = WIRES["grpc-typed" if typed else "grpc"]

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        deadline.check(context.deadline, "before the call was sent")
        if self._typed:
            check_request(self._wire, request)
        data = protobuf_codec.encode_request(request, typed=self._typed)
        self.check_size(data)
        context.bytes_sent = len(data)
        call = self._send(data, context)
        try:
            context.mark("sent")
            reply: bytes = await call
            context.mark("answered")
            if context.timeline is not None:
                await _adopt(context.timeline, call)
        except aio.AioRpcError as error:
            raise error_of(error, self.target.grpc) from None
        context.bytes_received = len(reply)
        try:
            response = protobuf_codec.decode_response(reply)
        except InferenceError as error:
            raise unreadable(error, self.target.grpc) from None
        if self._typed:
            check_response(self._wire, response)
        context.mark("read")
        return response

    def _send(self, data: bytes, context: CallContext) -> aio.UnaryUnaryCall[bytes, bytes]:
        metadata = tuple(context.headers.items())
        if context.timeline is not None:
            metadata += ((timeline.HEADER, "1"),)
        try:
            return self.call_of("ModelInfer")(
                data, timeout=deadline.timeout_of(context.deadline), metadata=metadata or None
            )
        except aio.UsageError:
            raise InferenceError(Code.UNAVAILABLE, f"the client of {self.target.grpc} is closed") from None


async def _adopt(stations: timeline.Timeline, call: aio.UnaryUnaryCall[bytes, bytes]) -> None:
    for key, value in await call.trailing_metadata() or ():
        if key == timeline.HEADER:
            stations.adopt(value)
