"""The callers' floors: the least that Python code does to make the call, in the form of a wire each.

They send one prepared message again and again and compare the reply's bytes with the first, which they decoded.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, cast

import aiohttp
from grpc import aio

from crossover.comparison.load import hop
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.codecs.registry import JSON, PROTOBUF
from crossover.protocol.wires import WIRES, Target, Wire
from crossover.protos import inference as pb
from crossover.transport.grpcio.poller import patient_poller

if TYPE_CHECKING:
    from crossover.protocol.inference import CallContext, Inference
    from crossover.protocol.messages import InferRequest, InferResponse

_HERE = "crossover.comparison.bench.callers"
FLOORS = (
    Wire("bare-stub", f"{_HERE}:connect_stub", "grpc", PROTOBUF, frozenset({"FP32"})),
    Wire("bare-aiohttp", f"{_HERE}:connect_aiohttp", "rest", JSON, frozenset({"FP32"})),
)


def register() -> None:
    """Make the floors known to this process's registry."""
    WIRES.update({wire.name: wire for wire in FLOORS})


class _Floor:
    """What both floors share: one prepared message, one known reply. Of `Inference` they have the infer call alone."""

    def __init__(self) -> None:
        self._messages: dict[str, bytes] = {}
        self._known: tuple[bytes, InferResponse] | None = None

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:  # noqa: ARG002 - no deadline
        message = self._messages.get(request.model_name)
        if message is None:
            message = self._messages[request.model_name] = self._prepared(request)
        reply = await self._sent(message)
        if self._known is None or reply != self._known[0]:
            self._known = reply, self._decoded(reply)
        return self._known[1]

    @abstractmethod
    def _prepared(self, request: InferRequest) -> bytes: ...

    @abstractmethod
    def _decoded(self, reply: bytes) -> InferResponse: ...

    @abstractmethod
    async def _sent(self, message: bytes) -> bytes: ...


class StubFloor(_Floor):
    """A bare grpc.aio stub that passes bytes through."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        with patient_poller():
            self._channel = aio.insecure_channel(target.grpc, options=[("grpc.max_receive_message_length", -1)])
        self._call = self._channel.unary_unary(f"/{pb.SERVICE}/ModelInfer")

    def _prepared(self, request: InferRequest) -> bytes:
        return protobuf_codec.encode_request(request)

    def _decoded(self, reply: bytes) -> InferResponse:
        return protobuf_codec.decode_response(reply)

    async def _sent(self, message: bytes) -> bytes:
        return bytes(await self._call(message))

    async def close(self) -> None:
        await self._channel.close()


class AiohttpFloor(_Floor):
    """aiohttp's session with a prepared body."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._rest = target.rest
        self._url = ""
        self._session: aiohttp.ClientSession | None = None

    def _prepared(self, request: InferRequest) -> bytes:
        self._url = f"{self._rest}/v2/models/{request.model_name}/infer"
        return json_codec.encode_request(request)

    def _decoded(self, reply: bytes) -> InferResponse:
        return json_codec.decode_response(reply)

    async def _sent(self, message: bytes) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100))
        headers = {"content-type": "application/json"}
        async with self._session.post(self._url, data=message, headers=headers) as reply:
            return await reply.read()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def connect_stub(target: Target) -> Inference:
    return cast("Inference", StubFloor(target))


def connect_aiohttp(target: Target) -> Inference:
    return cast("Inference", AiohttpFloor(target))


class Driver(hop.Driver):
    """The lab's driver, in a process that knows the floors."""

    def __init__(self) -> None:
        register()
        super().__init__()
