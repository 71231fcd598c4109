"""The Connect protocol, unary, by connectrpc on both ends: messages and raw contents are those of `grpc-stock-raw`.

Over HTTP/1.1 on the server that the stock REST arms have, so that the call is an HTTP request whose body is the message.
connectrpc is installed with requirements/arms.txt.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import grpc

from crossover.clients import rest
from crossover.comparison.lab import stock_grpc
from crossover.comparison.lab.wires import CONNECT_PORT, address
from crossover.protocol.deadline import timeout_of
from crossover.protocol.errors import InferenceError, code_from_grpc
from crossover.protocol.inference import CallContext, Wrapper
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from crossover.endpoints.rest.types import ASGIApp
    from crossover.protocol.inference import Inference
    from crossover.protocol.wires import Target

_SERVICE, _METHOD = "lab.Connect", "ModelInfer"
_NAMES = {code.value[0]: code.value[1].replace(" ", "_").replace("cancelled", "canceled") for code in grpc.StatusCode}
_NUMBERS = {name: number for number, name in _NAMES.items()}
"""gRPC's codes as Connect names them."""


def _codec() -> Any:
    return import_module("connectrpc.compat").google_protobuf_binary_codec()


def _method() -> Any:
    method: Any = import_module("connectrpc.method")
    return method.MethodInfo(
        name=_METHOD, service_name=_SERVICE, input=pb.ModelInferRequest, output=pb.ModelInferResponse,
        idempotency_level=method.IdempotencyLevel.UNKNOWN, stream_type=method.StreamType.UNARY,
    )  # fmt: skip


def app(inference: Inference) -> ASGIApp:
    """An ASGI application with the one method, as generated code makes it."""
    server: Any = import_module("connectrpc.server")
    error: Any = import_module("connectrpc.errors")
    codes: Any = import_module("connectrpc.code").Code

    async def infer(request: pb.ModelInferRequest, _: Any) -> pb.ModelInferResponse:
        try:
            return stock_grpc.answered(
                stock_grpc.RAW, await inference.infer(stock_grpc.asked(stock_grpc.RAW, request), CallContext())
            )
        except InferenceError as found:
            raise error.ConnectError(codes(_NAMES[found.code.status.grpc]), found.message) from None

    made: Any = type("Application", (server.ConnectASGIApplication,), {"path": f"/{_SERVICE}"})
    endpoint = server.Endpoint.unary(_method(), infer)
    return made(
        service=None, endpoints=lambda _: {f"/{_SERVICE}/{_METHOD}": endpoint}, codecs=[_codec()], compressions=(),
        read_max_bytes=None,
    )  # fmt: skip


def connect(target: Target) -> Inference:
    return Connect(target)


class Connect(Wrapper):
    """Infer calls go through connectrpc's client; everything else over plain REST to the model server."""

    def __init__(self, target: Target) -> None:
        super().__init__(rest.connect(target))
        client: Any = import_module("connectrpc.client")
        self._http: Any = import_module("pyqwest")
        transport = self._http.HTTPTransport(pool_max_idle_per_host=target.connections, enable_otel=False)
        self._method = _method()
        self._client = client.ConnectClient(
            f"http://{address(target, CONNECT_PORT)}", codec=_codec(), accept_compression=(), send_compression=None,
            http_client=self._http.Client(transport),
        )  # fmt: skip
        self._error: Any = import_module("connectrpc.errors").ConnectError

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        message = stock_grpc.message(stock_grpc.RAW, request)
        left = timeout_of(context.deadline)
        context.mark("sent")
        try:
            reply = await self._client.execute_unary(
                request=message, method=self._method, timeout_ms=None if left is None else max(1, round(left * 1000))
            )
        except self._error as error:
            raise InferenceError(code_from_grpc(_NUMBERS[error.code.value]), error.message) from None
        context.mark("answered")
        context.bytes_sent, context.bytes_received = message.ByteSize(), reply.ByteSize()
        response = stock_grpc.read(stock_grpc.RAW, reply)
        context.mark("read")
        return response

    async def close(self) -> None:
        await self._client.close()
        await self.inner.close()
