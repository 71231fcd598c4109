"""gRPC through Ray's ingress: what its proxy registers, and what a replica makes of a call.

The proxy takes messages as bytes and hands them on with a copy of the call's context, `RayServegRPCContext`; a reply goes back
with that context's code, details and trailing metadata. The call's deadline is not in it, so it travels as metadata.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import grpc

from crossover.endpoints.grpc.listener import HandlerCallDetails
from crossover.endpoints.grpc.servicer import GrpcOptions, Servicer
from crossover.protocol.deadline import TIMEOUT_HEADER
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from crossover.protocol.inference import Inference

_UNREAD = 1
"""Replies of a stream that wait for the proxy; its messages wait while there are so many."""


def add_GRPCInferenceServiceServicer_to_server(servicer: Any, server: Any) -> None:  # noqa: N802 - as protoc names it
    """Registers the service with Ray's proxy, for `grpc_servicer_functions`. Messages stay bytes: replicas decode them."""
    table = {
        name: (grpc.stream_stream_rpc_method_handler if method.client_streaming else grpc.unary_unary_rpc_method_handler)(
            getattr(servicer, name)
        )
        for name, method in pb.METHODS.items()
    }  # fmt: skip
    server.add_generic_rpc_handlers((_WithDeadline(grpc.method_handlers_generic_handler(pb.SERVICE, table)),))


class _WithDeadline(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handlers that are called with a context which tells how long the call has left.

    Ray puts its own behaviour into `_method_handlers`, which generated code registers too.
    """

    def __init__(self, handlers: Any) -> None:
        self._method_handlers: dict[str, Any] = handlers._method_handlers

    def service(self, handler_call_details: Any) -> Any:
        found = self._method_handlers.get(handler_call_details.method)
        if found is None:
            return None
        kind = "stream_stream" if found.request_streaming else "unary_unary"
        return found._replace(**{kind: _told(getattr(found, kind))})


def _told(behaviour: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    if asyncio.iscoroutinefunction(behaviour):

        async def unary(request: Any, context: Any) -> Any:
            return await behaviour(request, _Context(context))

        return unary

    async def stream(requests: Any, context: Any) -> AsyncIterator[Any]:
        async for reply in behaviour(requests, _Context(context)):
            yield reply

    return stream


class _Context:
    """grpc.aio's ServicerContext, with the time that remains among the metadata."""

    def __init__(self, context: Any) -> None:
        self._context = context
        left = context.time_remaining()
        said = () if left is None or left == math.inf else ((TIMEOUT_HEADER, str(max(1, math.ceil(left * 1000)))),)
        sent = context.invocation_metadata() or ()
        self._metadata = (*(item for item in sent if item[0] != TIMEOUT_HEADER), *said)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata


class Message:
    """A reply, which Ray serializes."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name for it
        return self._data


class AbortedError(Exception):
    """A call has ended with a status, which its context carries."""


class GrpcIngress:
    """A replica's half: calls become those of `Servicer`'s handlers."""

    def __init__(self, inference: Inference, options: GrpcOptions) -> None:
        self._handlers = Servicer(inference, options, None).handlers()

    def _handler(self, method: str) -> Any:
        return self._handlers.service(HandlerCallDetails(f"/{pb.SERVICE}/{method}"))

    async def unary(self, method: str, request: bytes, context: Any) -> Message:
        """The reply; after an error an empty one, of which the proxy sends the status, details and trailing metadata.

        An exception would lose the trailing metadata, and Ray would log it as a failure of the replica.
        """
        try:
            return Message(await self._handler(method).unary_unary(request, RayCall(context)))
        except AbortedError:
            return Message()

    async def stream(self, method: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Message]:
        """The replies; AbortedError with the status in `context` where an error ends the stream."""
        call = RayCall(context)
        behaviour = self._handler(method).stream_stream
        running = asyncio.create_task(_run(behaviour(requests, call), call.replies))
        try:
            while (reply := await call.replies.get()) is not None:
                if isinstance(reply, Exception):
                    raise reply
                yield Message(reply)
        finally:
            running.cancel()


async def _run(handling: Awaitable[None], replies: asyncio.Queue[bytes | Exception | None]) -> None:
    """Let a stream's handler write its replies, then say how it ended."""
    end = None
    try:
        await handling
    except Exception as error:  # noqa: BLE001 - it is raised where the replies are read
        end = error
    await replies.put(end)


class RayCall:
    """What handlers ask of grpc.aio's ServicerContext, from Ray's copy of it."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.replies: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(_UNREAD)

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        return self._context.invocation_metadata()

    def peer(self) -> str:
        return self._context.peer()

    def time_remaining(self) -> float | None:
        for name, value in self._context.invocation_metadata():
            if name == TIMEOUT_HEADER:
                return int(value) / 1000
        return None

    def set_trailing_metadata(self, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        self._context.set_trailing_metadata(list(metadata))

    async def abort(
        self, code: grpc.StatusCode, details: str, trailing: Sequence[tuple[str, str | bytes]] = ()
    ) -> None:
        self._context.set_code(code)
        self._context.set_details(details)
        self.set_trailing_metadata(trailing)
        raise AbortedError(details)

    async def write(self, message: bytes) -> None:
        await self.replies.put(message)
