"""`inference.GRPCInferenceService` around any `Inference`, as handlers of grpcio's registry.

Handlers take and give bytes, so that a message that can't be decoded is answered by the same table as every other error,
and large tensors are not copied by a serializer. Each hands its call to the one function in answer.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from crossover.endpoints.grpc.answer import Answering, GrpcOptions
from crossover.endpoints.grpc.errors import abort
from crossover.endpoints.grpc.operations import Control, ModelInfer, Operation
from crossover.endpoints.grpc.stream import StreamOfCalls
from crossover.protocol.errors import InferenceError
from crossover.protos import inference as pb
from crossover.transport import eager_start

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from crossover.protocol.inference import Inference
    from crossover.service.metrics import Observer

__all__ = ["GrpcOptions", "Servicer"]


class Servicer:
    """The service's methods; `handlers()` is what a server takes, and `draining` ends what has no end of its own."""

    def __init__(self, inference: Inference, options: GrpcOptions, observer: Observer | None) -> None:
        self.draining = asyncio.Event()
        self._answering = Answering(inference, options, observer)
        self.leaving = asyncio.Event()
        """Set some time before `draining`: streams are told, and still served."""

    def handlers(self) -> grpc.GenericRpcHandler:
        table = {
            name: grpc.unary_unary_rpc_method_handler(self._control(name))
            for name, method in pb.METHODS.items()
            if not method.client_streaming
        }
        table["ModelInfer"] = grpc.unary_unary_rpc_method_handler(self.model_infer)
        table["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._model_stream_infer)
        return grpc.method_handlers_generic_handler(pb.SERVICE, table)

    @eager_start.allowed
    def model_infer(self, data: bytes, rpc: Any) -> Coroutine[Any, Any, bytes]:
        """One ModelInfer; `rpc` needs of grpc.aio's ServicerContext the four methods that are called here."""
        return self._unary(ModelInfer(), data, rpc)

    def _control(self, name: str) -> Any:
        async def handle(data: bytes, rpc: Any) -> bytes:
            return await self._unary(Control(name), data, rpc)

        return handle

    async def _unary(self, operation: Operation, data: bytes, rpc: Any) -> bytes:
        try:
            reply = await self._answering.answer(operation, data, rpc)
        except InferenceError as error:
            await abort(rpc, error, operation.trailing)
            raise AssertionError from None
        if operation.trailing:
            rpc.set_trailing_metadata(operation.trailing)
        return reply

    async def _model_stream_infer(self, requests: Any, rpc: Any) -> None:
        try:
            self._answering.check_stream("ModelStreamInfer", rpc)
        except InferenceError as error:
            await abort(rpc, error)
        await StreamOfCalls(self._answering, rpc).run(requests, self.leaving, self.draining)
