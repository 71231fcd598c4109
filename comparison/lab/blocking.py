"""Blocking callers: the bytes of `grpc` and of `rest-binary`, sent by threads that wait for their answer.

So call services whose framework gives each request a thread: the synchronous gRPC stub, and the standard library's HTTP
client (which urllib3 and requests are made on), each with one kept connection a thread.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
from abc import abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc

from crossover.clients import rest
from crossover.comparison.lab.stock_grpc import UNLIMITED
from crossover.protocol import deadline
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError, code_from_grpc, code_from_http
from crossover.protocol.inference import CallContext, Wrapper
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from crossover.protocol.inference import Inference
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.protocol.wires import Target

_THREADS = 64
_GRPC_METHOD = f"/{pb.SERVICE}/ModelInfer"


def connect_grpc(target: Target) -> Inference:
    return BlockingGrpc(target)


def connect_rest(target: Target) -> Inference:
    return BlockingRest(target)


class Blocking(Wrapper):
    """Encodes, sends, waits and decodes on a thread of a pool; everything but infer goes over plain REST."""

    def __init__(self, target: Target) -> None:
        super().__init__(rest.connect(target))
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="blocking caller")

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.call, request, context)

    @abstractmethod
    def call(self, request: InferRequest, context: CallContext) -> InferResponse:
        """The whole call, on the thread that it is made on."""

    async def close(self) -> None:
        self._threads.shutdown(wait=False)
        await self.inner.close()


class BlockingGrpc(Blocking):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._channel = grpc.insecure_channel(target.grpc, UNLIMITED)
        self._stub: Any = self._channel.unary_unary(_GRPC_METHOD)

    def call(self, request: InferRequest, context: CallContext) -> InferResponse:
        body = protobuf_codec.encode_request(request)
        context.bytes_sent = len(body)
        context.mark("sent")
        try:
            reply = self._stub(body, timeout=deadline.timeout_of(context.deadline))
        except grpc.RpcError as error:
            raise InferenceError(code_from_grpc(error.code().value[0]), error.details() or "") from None
        context.mark("answered")
        context.bytes_received = len(reply)
        response = protobuf_codec.decode_response(reply)
        context.mark("read")
        return response

    async def close(self) -> None:
        self._channel.close()
        await super().close()


class BlockingRest(Blocking):
    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self._origin = urlsplit(target.rest)
        self._kept = threading.local()

    def call(self, request: InferRequest, context: CallContext) -> InferResponse:
        encoded = binary_codec.encode_request(request)
        body = b"".join(encoded.parts)
        headers = {"content-type": "application/octet-stream"}
        if encoded.header_length is not None:
            headers[binary_codec.LENGTH_HEADER] = str(encoded.header_length)
        context.bytes_sent = len(body)
        context.mark("sent")
        status, length, reply = self._exchange(f"/v2/models/{request.model_name}/infer", body, headers, context)
        context.mark("answered")
        context.bytes_received = len(reply)
        if status != 200:
            raise InferenceError(code_from_http(status), reply[:200].decode("utf-8", "replace"))
        response = binary_codec.decode_response(reply, binary_codec.header_length(length, len(reply)))
        context.mark("read")
        return response

    def _exchange(
        self, path: str, body: bytes, headers: dict[str, str], context: CallContext
    ) -> tuple[int, str | None, bytes]:
        """Status, length of the JSON head, and body of the reply, over this thread's connection."""
        connection = self._connection(deadline.timeout_of(context.deadline))
        try:
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.headers.get(binary_codec.LENGTH_HEADER), reply.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise InferenceError(Code.UNAVAILABLE, f"{self._origin.netloc} did not answer: {error}") from None

    def _connection(self, timeout: float | None) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._kept, "connection", None)
        if found is None:
            found = self._kept.connection = http.client.HTTPConnection(self._origin.hostname or "", self._origin.port)
        found.timeout = timeout
        if found.sock is not None:
            found.sock.settimeout(timeout)
        return found
