"""What a gRPC call asks for: how its message is read, and how its answer is written. One object for each call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from crossover.protocol import deadline, streaming, timeline
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.codecs.sizes import raw_size_at_least, typed_size_at_least
from crossover.protocol.errors import InferenceError, invalid
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from crossover.protocol.inference import CallContext
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.transport.grpc.metadata import Metadata

EMPTY_FINAL, FINAL = "triton_enable_empty_final_response", "triton_final_response"
SHARED_MEMORY = "SharedMemory"
"""Part of the names of that extension's methods."""
CHANGES_REPOSITORY = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})


class Operation(ABC):
    """The part of a call that differs from method to method; `endpoints.grpc.answer` has what is the same for all."""

    infers = True
    """False: it is the control plane's."""
    typed = False
    """Whether the reply has typed contents."""

    trailing: Metadata = ()
    """Trailing metadata of a call that succeeds."""

    @property
    @abstractmethod
    def method(self) -> str:
        """The gRPC method's name, which is also the route in metrics."""

    @abstractmethod
    def decode(self, data: bytes, context: CallContext) -> Any:
        """The request; what stands in it for the whole call (deadline, headers) goes into `context`."""

    @abstractmethod
    def encode(self, reply: Any, context: CallContext) -> bytes:
        """The reply message."""

    def size_at_least(self, reply: Any) -> int:
        """Bytes that the reply message takes at least, told before it is written."""
        return 0


class ModelInfer(Operation):
    """A unary inference."""

    method = "ModelInfer"

    def decode(self, data: bytes, context: CallContext) -> InferRequest:
        request = protobuf_codec.decode_request(data)
        if request.parameters:
            self.take_parameters(request, context)
        return request

    def take_parameters(self, request: InferRequest, context: CallContext) -> None:
        self.typed = request.parameters.pop(protobuf_codec.TYPED_OUTPUTS, False) is True
        if "timeout" in request.parameters:
            context.deadline = min(context.deadline, deadline.from_parameter(request.parameters["timeout"]))

    def size_at_least(self, reply: InferResponse) -> int:
        return typed_size_at_least(reply) if self.typed else raw_size_at_least(reply)

    def encode(self, reply: InferResponse, context: CallContext) -> bytes:
        data = protobuf_codec.encode_response(reply, typed=self.typed)
        if context.timeline is not None:
            context.mark("encoded")
            self.trailing = ((timeline.HEADER, context.timeline.to_header()),)
        return data


class StreamedInfer(ModelInfer):
    """One message of a stream, which its reader has decoded already, as far as it could be (protocol/streaming.py)."""

    method = "ModelStreamInfer"

    def __init__(self, request: InferRequest | InferenceError, received: int) -> None:
        """`received` is when it came, in monotonic nanoseconds."""
        self._request = request
        self._received = received

    def decode(self, data: bytes, context: CallContext) -> InferRequest:
        request = self._request
        if isinstance(request, InferenceError):
            raise request
        self.typed = self._final = False
        if request.parameters:
            streaming.take_context(request, context)
            self._final = request.parameters.get(EMPTY_FINAL) is True
            self.take_parameters(request, context)
        if context.timeline is not None:
            context.timeline.stamps["received"] = self._received
        return request

    def encode(self, reply: InferResponse, context: CallContext) -> bytes:
        if self._final:
            reply.parameters[FINAL] = True
        if context.timeline is not None:
            context.mark("encoded")
            reply.parameters[streaming.TIMELINE] = context.timeline.to_header()
        return protobuf_codec.encode_stream_response(reply, typed=self.typed)


class Control(Operation):
    """A call of the control plane: message in, message out."""

    infers = False

    def __init__(self, method: str) -> None:
        self._method = method

    @property
    def method(self) -> str:
        return self._method

    def decode(self, data: bytes, context: CallContext) -> Any:
        kind = pb.METHODS[self._method].request
        protobuf_codec.check_fields(data)
        try:
            return kind.FromString(data)
        except DecodeError:
            raise invalid(f"the message can't be decoded as protobuf of {kind.DESCRIPTOR.full_name}") from None

    def encode(self, reply: Any, context: CallContext) -> bytes:
        data: bytes = reply.SerializeToString()
        return data
