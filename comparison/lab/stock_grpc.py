"""gRPC as usually written: a grpc.aio stub and servicer, messages filled from lists and read into lists, nothing tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from grpc import aio

from clients import grpc_unary
from comparison.lab.wires import GRPC_PORT, address
from protocol import protobuf_codec
from protocol.datatypes import datatype
from protocol.deadline import timeout_of
from protocol.errors import InferenceError, code_from_grpc
from protocol.inference import CallContext, Wrapper
from protocol.messages import InferRequest, InferResponse
from protocol.tensors import Tensor
from protos import inference as pb

if TYPE_CHECKING:
    from protocol.inference import Inference
    from protocol.wires import Target

METHOD = "/lab.Stock/ModelInfer"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
"""The only option that is not stock: the default of 4 MB refuses the lab's larger messages."""


def handler(inference: Inference) -> Any:
    """The servicer's one method, as generated code registers it."""

    async def infer(request: pb.ModelInferRequest, rpc: aio.ServicerContext) -> pb.ModelInferResponse:
        parameters = protobuf_codec.parameters_of(request.parameters)
        call = InferRequest(request.model_name, [_read(item) for item in request.inputs], parameters=parameters)
        try:
            response = await inference.infer(call, CallContext())
        except InferenceError as error:
            await rpc.abort(_status(error), error.message)
        reply = pb.ModelInferResponse(model_name=response.model_name, model_version=response.model_version)
        for tensor in response.outputs:
            _write(reply.outputs.add(), tensor)
        return reply

    return grpc.unary_unary_rpc_method_handler(
        infer,
        request_deserializer=pb.ModelInferRequest.FromString,
        response_serializer=pb.ModelInferResponse.SerializeToString,
    )


def connect(target: Target) -> Inference:
    return StockGrpc(target)


class StockGrpc(Wrapper):
    """Infer calls go through the stub; everything else over plain gRPC to the model server."""

    def __init__(self, target: Target) -> None:
        super().__init__(grpc_unary.connect(target))
        self._target = target
        self._channel: Any = None
        self._call: Any = None

    def _stub(self) -> Any:
        if self._call is None:
            self._channel = aio.insecure_channel(address(self._target, GRPC_PORT), UNLIMITED)
            self._call = self._channel.unary_unary(
                METHOD,
                request_serializer=pb.ModelInferRequest.SerializeToString,
                response_deserializer=pb.ModelInferResponse.FromString,
            )
        return self._call

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        message = pb.ModelInferRequest(model_name=request.model_name)
        protobuf_codec.set_parameters(message.parameters, request.parameters)
        for tensor in request.inputs:
            _write(message.inputs.add(), tensor)
        context.mark("sent")
        try:
            reply = await self._stub()(message, timeout=timeout_of(context.deadline))
        except aio.AioRpcError as error:
            raise InferenceError(code_from_grpc(error.code().value[0]), error.details() or "") from None
        context.mark("answered")
        context.bytes_sent, context.bytes_received = message.ByteSize(), reply.ByteSize()
        outputs = [_read(item) for item in reply.outputs]
        context.mark("read")
        return InferResponse(reply.model_name, reply.model_version, outputs)

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
        await self.inner.close()


def _write(item: Any, tensor: Tensor) -> None:
    item.name, item.datatype = tensor.name, tensor.datatype.name
    item.shape.extend(tensor.shape)
    assert tensor.datatype.contents is not None
    getattr(item.contents, tensor.datatype.contents).extend(tensor.array.ravel().tolist())


def _read(item: Any) -> Tensor:
    row = datatype(item.datatype)
    assert row.contents is not None
    array = np.array(list(getattr(item.contents, row.contents)), row.dtype).reshape(list(item.shape))
    return Tensor.from_array(item.name, array, row)


def _status(error: InferenceError) -> Any:
    return next(code for code in grpc.StatusCode if code.value[0] == error.code.status.grpc)
