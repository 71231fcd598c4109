"""`grpc`, `grpc-typed` and `grpc-lean`: one unary ModelInfer for each request.

The first two go through grpcio, with raw and with typed contents; `grpc-lean` sends what `grpc` sends through the
HTTP/2 client of transport/grpc/client.py.
"""

from __future__ import annotations

from crossover.clients.grpc_control import GrpcControl
from crossover.clients.grpc_status import unreadable
from crossover.protocol import deadline, timeline
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.codecs.sizes import TYPICAL_JSON_ELEMENT
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.wires import WIRES, Target, check_request, check_response
from crossover.transport.grpc.metadata import Metadata
from crossover.transport.grpc.status import UnaryTransport
from crossover.transport.off_loop import off_loop


def connect(target: Target) -> GrpcUnary:
    """A client that sends raw contents through grpcio."""
    from crossover.clients.grpc_channel import GrpcChannel

    return GrpcUnary(target, GrpcChannel(target))


def connect_typed(target: Target) -> GrpcUnary:
    """A client that sends typed contents and asks for typed ones; FP16 and BF16 have none (NOT_CARRIED)."""
    from crossover.clients.grpc_channel import GrpcChannel

    return GrpcUnary(target, GrpcChannel(target), typed=True)


def connect_lean(target: Target) -> GrpcUnary:
    """A client that sends raw contents through our own HTTP/2."""
    from crossover.clients.grpc_lean import lean_channel

    return GrpcUnary(target, lean_channel(target))


class GrpcUnary(GrpcControl):
    """`Inference` over unary calls."""

    def __init__(self, target: Target, transport: UnaryTransport, *, typed: bool = False) -> None:
        super().__init__(target, transport)
        self._typed = typed
        self._wire = WIRES["grpc-typed" if typed else "grpc"]

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        deadline.check(context.deadline, "before the call was sent")
        if self._typed:
            data = await self._encoded_typed(request)
        else:
            data = protobuf_codec.encode_request(request)
        self.check_size(data)
        context.bytes_sent = len(data)
        stations = context.timeline
        if stations is None:
            reply, _ = await self.exchange("ModelInfer", data, context)
        else:
            stations.mark("sent")
            reply, trailing = await self.exchange("ModelInfer", data, context, timed=True)
            stations.mark("answered")
            _adopt(stations, trailing)
        context.bytes_received = len(reply)
        try:
            if self._typed:
                response = await off_loop(len(reply), protobuf_codec.decode_response, reply)
            else:
                response = protobuf_codec.decode_response(reply)
        except InferenceError as error:
            raise unreadable(error, self.target.grpc) from None
        if self._typed:
            check_response(self._wire, response)
        if stations is not None:
            stations.mark("read")
        return response

    async def _encoded_typed(self, request: InferRequest) -> bytes:
        check_request(self._wire, request)
        size = TYPICAL_JSON_ELEMENT * sum([tensor.count for tensor in request.inputs])
        return await off_loop(size, protobuf_codec.encode_request, request, typed=True)


def _adopt(stations: timeline.Timeline, trailing: Metadata) -> None:
    for key, value in trailing:
        if key == timeline.HEADER and isinstance(value, str):
            stations.adopt(value)
