"""gRPC by its library alone: a grpc.aio stub and servicer and generated messages, nothing tuned.

As usually written, typed fields are filled from lists and read into lists; at its best, raw contents are filled from
arrays and read into arrays.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from grpc import aio

from crossover.clients import grpc_unary
from crossover.comparison.lab.wires import GRPC_PORT, SYNC_PORT, address
from crossover.endpoints.grpc.errors import STATUS_CODES
from crossover.protocol.codecs.protobuf.parameters import parameters_of, set_parameters
from crossover.protocol.datatypes import datatype
from crossover.protocol.deadline import timeout_of
from crossover.protocol.errors import InferenceError, code_from_grpc
from crossover.protocol.inference import CallContext, Wrapper
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from crossover.transport.grpcio.poller import patient_poller

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.protocol.inference import Inference
    from crossover.protocol.wires import Target

UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
"""The only option that is not stock: the default of 4 MB refuses the lab's larger messages."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Where tensors are in a message."""

    method: str
    write: Callable[[Any, Any, Tensor], None]
    """A message, the list of its raw contents, a tensor: add the tensor."""
    read: Callable[[Any, Any], list[Tensor]]
    """A message's tensors and its raw contents: read them."""


def handler(kind: Kind, inference: Inference) -> Any:
    """The servicer's one method, as generated code registers it."""

    async def infer(request: pb.ModelInferRequest, rpc: aio.ServicerContext) -> pb.ModelInferResponse:
        try:
            response = await inference.infer(asked(kind, request), CallContext())
        except InferenceError as error:
            await rpc.abort(STATUS_CODES[error.code.status.grpc], error.message)
        return answered(kind, response)

    return _registered(infer)


def sync_handler(kind: Kind, inference: Inference, loop: asyncio.AbstractEventLoop) -> Any:
    """The same on a thread of the server's pool, which waits for the engine on its loop."""

    def infer(request: pb.ModelInferRequest, rpc: grpc.ServicerContext) -> pb.ModelInferResponse:
        answer = asyncio.run_coroutine_threadsafe(inference.infer(asked(kind, request), CallContext()), loop)
        try:
            response = answer.result()
        except InferenceError as error:
            rpc.abort(STATUS_CODES[error.code.status.grpc], error.message)
        return answered(kind, response)

    return _registered(infer)


def asked(kind: Kind, request: pb.ModelInferRequest) -> InferRequest:
    """What a service reads."""
    parameters = parameters_of(request.parameters)
    return InferRequest(
        request.model_name, kind.read(request.inputs, request.raw_input_contents), parameters=parameters
    )


def answered(kind: Kind, response: InferResponse) -> pb.ModelInferResponse:
    """What a service answers."""
    reply = pb.ModelInferResponse(model_name=response.model_name, model_version=response.model_version)
    for tensor in response.outputs:
        kind.write(reply.outputs.add(), reply.raw_output_contents, tensor)
    return reply


def message(kind: Kind, request: InferRequest) -> pb.ModelInferRequest:
    """What a caller sends."""
    made = pb.ModelInferRequest(model_name=request.model_name)
    set_parameters(made.parameters, request.parameters)
    for tensor in request.inputs:
        kind.write(made.inputs.add(), made.raw_input_contents, tensor)
    return made


def read(kind: Kind, reply: pb.ModelInferResponse) -> InferResponse:
    """What a caller reads."""
    return InferResponse(reply.model_name, reply.model_version, kind.read(reply.outputs, reply.raw_output_contents))


def _registered(infer: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=pb.ModelInferRequest.FromString,
        response_serializer=pb.ModelInferResponse.SerializeToString,
    )


def connect_typed(target: Target) -> Inference:
    return StockGrpc(TYPED, target)


def connect_sync(target: Target) -> Inference:
    return StockGrpc(TYPED, target, SYNC_PORT)


def connect_raw(target: Target) -> Inference:
    return StockGrpc(RAW, target)


class StockGrpc(Wrapper):
    """Infer calls go through the stub; everything else over plain gRPC to the model server."""

    def __init__(self, kind: Kind, target: Target, port: str = GRPC_PORT) -> None:
        super().__init__(grpc_unary.connect(target))
        self._kind, self._port = kind, port
        self._target = target
        self._channel: Any = None
        self._call: Any = None

    def _stub(self) -> Any:
        if self._call is None:
            with patient_poller():  # as all arms have it
                self._channel = aio.insecure_channel(address(self._target, self._port), UNLIMITED)
            self._call = self._channel.unary_unary(
                self._kind.method,
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
        return self._call

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        asking = message(self._kind, request)
        context.mark("sent")
        try:
            reply = await self._stub()(asking, timeout=timeout_of(context.deadline))
        except aio.AioRpcError as error:
            raise InferenceError(code_from_grpc(error.code().value[0]), error.details() or "") from None
        context.mark("answered")
        context.bytes_sent, context.bytes_received = asking.ByteSize(), reply.ByteSize()
        response = read(self._kind, reply)
        context.mark("read")
        return response

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        await self.inner.close()


def _describe(item: Any, tensor: Tensor) -> None:
    item.name, item.datatype = tensor.name, tensor.datatype.name
    item.shape.extend(tensor.shape)


def _write_typed(item: Any, _: Any, tensor: Tensor) -> None:
    _describe(item, tensor)
    assert tensor.datatype.contents is not None
    getattr(item.contents, tensor.datatype.contents).extend(tensor.array.ravel().tolist())


def _read_typed(items: Any, _: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for item in items:
        row = datatype(item.datatype)
        assert row.contents is not None
        array = np.array(list(getattr(item.contents, row.contents)), row.dtype).reshape(list(item.shape))
        found.append(Tensor.from_array(item.name, array, row))
    return found


def _write_raw(item: Any, raws: Any, tensor: Tensor) -> None:
    _describe(item, tensor)
    raws.append(tensor.array.tobytes())


def _read_raw(items: Any, raws: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for item, raw in zip(items, raws, strict=True):
        row = datatype(item.datatype)
        array = np.frombuffer(raw, row.dtype).reshape(list(item.shape))
        found.append(Tensor.from_array(item.name, array, row))
    return found


TYPED = Kind("/lab.Stock/ModelInfer", _write_typed, _read_typed)
RAW = Kind("/lab.StockRaw/ModelInfer", _write_raw, _read_raw)
