"""REST through Ray's ingress: a replica's ASGI application.

Between our own port and `RestEndpoint` stand the door, the fields that every reply has, and the start and end of the engine;
here they stand in ASGI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.endpoints.rest.errors import error_reply
from crossover.endpoints.rest.mounting import head_of, send_reply
from crossover.protocol.propagation import REQUEST_ID, request_id_of
from crossover.service.doors import Refusal
from crossover.service.doors.response_fields import NO_STORE, SECURITY
from crossover.transport.http1.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crossover.endpoints.rest.answering import RestEndpoint
    from crossover.service.doors import Door
    from crossover.transport.http1.asgi import Receive, Scope, Send

_REQUEST_ID = REQUEST_ID.encode()


class RestIngress:
    """`endpoint` behind `door`; `start` and `stop` are awaited when the replica begins and ends."""

    def __init__(
        self, endpoint: RestEndpoint, door: Door, start: Callable[[], Awaitable[Any]], stop: Callable[[], Awaitable[Any]]
    ) -> None:  # fmt: skip
        self._endpoint = endpoint
        self._door = door
        self._start = start
        self._stop = stop
        self._always = (*SECURITY, *((NO_STORE,) if door.needs_keys else ()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            await self._endpoint(scope, receive, send)
            return
        scope = _below_prefix(scope)
        head, client = head_of(scope), scope.get("client")
        found = self._door.check(head, client[0] if client else "", scope.get("scheme", "http"))
        send = _adding(send, (*self._always, *found.fields))
        if isinstance(found, Refusal):
            reply = Reply(204, []) if found.error is None else error_reply(found.error)
            await send_reply(send, reply, request_id_of(head.by_name.get(REQUEST_ID)))
            return
        await self._endpoint(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """ASGI's lifespan: a replica gets requests when its models are loaded."""
        await receive()
        try:
            await self._start()
        except OSError as error:
            text = f"the model repository can't be read: {error.strerror} (model_repository)"
            await send({"type": "lifespan.startup.failed", "message": text})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})


def _below_prefix(scope: Scope) -> Scope:
    """The same with the path as our routes have it: without the application's `route_prefix`."""
    prefix = scope.get("root_path") or ""
    if not prefix:
        return scope
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return {**scope, "raw_path": path.removeprefix(prefix.encode()), "path": scope["path"].removeprefix(prefix)}


def _adding(send: Send, fields: tuple[tuple[bytes, bytes], ...]) -> Send:
    """Replies have `fields` too; the request's id is the one that Ray has made or taken, which its proxy adds itself."""

    async def wrapped(message: Any) -> None:
        if message["type"] == "http.response.start":
            own = (field for field in message["headers"] if field[0] != _REQUEST_ID)
            message = {**message, "headers": [*own, *fields]}
        await send(message)

    return wrapped
