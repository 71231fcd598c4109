"""`grpc` and `grpc-typed`: one unary ModelInfer for each request, with raw or typed contents."""

from __future__ import annotations

from typing import Any

from clients.grpc_channel import GrpcControl, unreadable
from protocol import deadline, protobuf_codec, timeline
from protocol.carrying import check_request, check_response
from protocol.errors import InferenceError
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
        context.mark("sent")
        reply, trailing = await self.exchange("ModelInfer", data, context, timed=context.timeline is not None)
        context.mark("answered")
        if context.timeline is not None:
            _adopt(context.timeline, trailing)
        context.bytes_received = len(reply)
        try:
            response = protobuf_codec.decode_response(reply)
        except InferenceError as error:
            raise unreadable(error, self.target.grpc) from None
        if self._typed:
            check_response(self._wire, response)
        context.mark("read")
        return response


def _adopt(stations: timeline.Timeline, trailing: tuple[Any, ...]) -> None:
    for key, value in trailing:
        if key == timeline.HEADER:
            stations.adopt(value)
