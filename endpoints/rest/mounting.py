"""A `RestEndpoint` behind an ASGI server: its requests as calls, its replies as messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from crossover.endpoints.rest.body import collect
from crossover.protocol import deadline
from crossover.protocol.propagation import REQUEST_ID, request_id_of
from crossover.transport.deadline_queue import deadline_queue
from crossover.transport.http1.asgi import REQUEST_ID_STATE
from crossover.transport.http1.messages import BodyTooLargeError, RequestHead

if TYPE_CHECKING:
    from crossover.transport.http1.asgi import ASGIApp, Receive, Scope, Send
    from crossover.transport.http1.messages import Buffer, Reply

_WATCH_SECONDS = 0.04
"""Requests that take longer watch whether their client leaves; for others that would cost more than it saves."""
_JOINED_BYTES = 64 << 10


class AsgiCall:
    """A request that an ASGI server brought; memory is that server's to bound."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.head = head_of(scope)
        state = scope.get("state") or {}
        self.request_id = state.get(REQUEST_ID_STATE) or request_id_of(self.head.by_name.get(REQUEST_ID))
        self.body: Buffer | None = None
        self.answer: Reply | None = None
        self.gone = False
        self._receive = receive
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._timer = deadline_queue(loop).call_at(deadline.after(_WATCH_SECONDS), self._watch)

    def ask(self) -> None:
        """The server asks for the body when it is received."""

    def hold(self, size: int) -> bool:  # noqa: ARG002 - see the class
        return True

    async def read(self, limit: int) -> Buffer:
        if self.head.length > limit:
            raise BodyTooLargeError
        self.body = await collect(self._receive, limit)
        return self.body

    def reply(self, reply: Reply) -> None:
        """It is sent once the handler is done."""
        self.answer = reply

    def _watch(self) -> None:
        if self.body is None:  # whoever reads it sees the disconnect too
            loop = asyncio.get_running_loop()
            self._timer = deadline_queue(loop).call_at(deadline.after(_WATCH_SECONDS), self._watch)
        else:
            self._watcher = asyncio.get_running_loop().create_task(self._until_gone())

    async def _until_gone(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._task is not None:
            self.gone = True
            self._task.cancel()

    def close(self) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()


def head_of(scope: Scope) -> RequestHead:
    """The request's head; the server has checked it and deals with the connection."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    fields = [(name.lower(), value) for name, value in scope["headers"]]
    by_name = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
    length = by_name.get("content-length", "")
    return RequestHead(
        method=scope["method"], target=path, path=path, query=scope.get("query_string", b""),
        version=scope.get("http_version", "1.1"), fields=fields, by_name=by_name, authority=by_name.get("host", ""),
        length=int(length[:20]) if length.isdigit() else 0, keep_alive=True, expects_continue=False,
    )  # fmt: skip


async def beside_http(fallback: ASGIApp | None, scope: Scope, receive: Receive, send: Send) -> None:
    """Lifespan and WebSockets, which are the fallback's where there is one."""
    if fallback is not None:
        await fallback(scope, receive, send)
    elif scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "websocket.close", "code": 1000})


async def send_reply(send: Send, reply: Reply, request_id: str) -> None:
    parts: list[Any] = list(reply.parts)
    size = sum(map(len, parts))
    if len(parts) > 1 and size <= _JOINED_BYTES:
        parts = [b"".join(parts)]
    headers = [*reply.headers, (b"content-length", b"%d" % size), (REQUEST_ID.encode(), request_id.encode("ascii"))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1] if parts else b""})
