"""The door of a gRPC port: every method asks it, whichever service it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

import grpc

from crossover.endpoints.grpc.errors import abort

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from crossover.protocol.errors import InferenceError
    from crossover.service.doors import Door
    from crossover.transport.grpc.metadata import Metadata


class Caller(Protocol):
    """What is asked of grpc.aio's ServicerContext, and of whatever stands in for it."""

    def invocation_metadata(self) -> Metadata | None: ...

    def peer(self) -> str:
        """The other end as gRPC writes it: ``ipv4:127.0.0.1:5000``."""


def check_call(door: Door, path: str, caller: Caller, *, counted: bool = True) -> None:
    """InferenceError when the method at `path` may not be called; `counted`: against the caller's rate too."""
    refusal = _refusal(door, path, caller, counted)
    if refusal is not None:
        raise refusal


def _refusal(door: Door, path: str, caller: Caller, counted: bool) -> InferenceError | None:
    return door.check_call(path, caller.invocation_metadata() or (), _address(caller.peer()), counted=counted)


def _address(peer: str) -> str:
    """``ipv4:1.2.3.4:5`` or ``ipv6:%5B::1%5D:5`` (percent-encoded as URIs are); "" for a Unix socket."""
    scheme, _, rest = peer.partition(":")
    return unquote(rest) if scheme in ("ipv4", "ipv6") else ""


class Guarded(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handlers of a registry, each behind the door."""

    def __init__(self, handlers: grpc.GenericRpcHandler, door: Door) -> None:
        self._handlers = handlers
        self._door = door

    def service(self, handler_call_details: Any) -> Any:
        handler = self._handlers.service(handler_call_details)
        if handler is None:
            return None
        path = handler_call_details.method
        return _guarded(handler, path, self._door)


def _guarded(handler: Any, path: str, door: Door) -> Any:
    async def admit(rpc: Any) -> None:
        refusal = _refusal(door, path, rpc, counted=True)
        if refusal is not None:
            await abort(rpc, refusal)

    async def unary(request: Any, rpc: Any) -> Any:
        await admit(rpc)
        return await handler.unary_unary(request, rpc)

    async def stream(requests: Any, rpc: Any) -> AsyncIterator[Any]:
        await admit(rpc)
        async for reply in (handler.stream_stream or handler.unary_stream)(requests, rpc):
            yield reply

    if handler.response_streaming:
        kind = "stream_stream" if handler.request_streaming else "unary_stream"
        return _replaced(handler, kind, stream)
    return _replaced(handler, "unary_unary", unary)


def _replaced(handler: Any, kind: str, behaviour: Any) -> Any:
    """The same entry of a registry with another behaviour (grpc.RpcMethodHandler)."""
    make = getattr(grpc, f"{kind}_rpc_method_handler")
    return make(behaviour, handler.request_deserializer, handler.response_serializer)
