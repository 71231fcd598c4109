"""Requests of a connection as an ASGI application sees them (ASGI 3.0, HTTP spec version 2.3)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote

from crossover.transport.http1.messages import BodyTooLargeError, ClientGoneError, NoMemoryError, RefusalError

if TYPE_CHECKING:
    from crossover.transport.http1.exchange import Exchange

log = logging.getLogger("crossover.http1")

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID_STATE = "request_id"
"""The key of a scope's state for the request's id, as the reply's `x-request-id` will say it."""
_DISCONNECT = "http.disconnect"
NO_MEMORY = "the requests in flight hold all the memory that MAX_IN_FLIGHT_BYTES allows; try again later"


async def run(app: ASGIApp, exchange: Exchange, state: dict[str, Any]) -> None:
    """Have `app` answer a request; 500 when it fails before it has begun to."""
    cycle = _Cycle(exchange)
    try:
        await app(_scope(exchange, state), cycle.receive, cycle.send)
        if not (exchange.answered or exchange.gone):
            raise RuntimeError("the application returned before its reply was complete")
    except asyncio.CancelledError:
        exchange.refuse(RefusalError(503, "the service is stopping"))
        raise
    except Exception as error:
        if exchange.gone:
            log.debug("a request failed after its client had gone", exc_info=error)
            return
        log.exception("a request failed inside the application", extra={"request_id": exchange.request_id})
        exchange.refuse(RefusalError(500, "the service failed inside; its log has the reason"))


def _scope(exchange: Exchange, state: dict[str, Any]) -> Scope:
    head = exchange.head
    path = head.path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": exchange.local,
        "client": exchange.peer,
        "scheme": exchange.scheme,
        "root_path": "",
        "headers": list(head.fields),
        "state": {**state, REQUEST_ID_STATE: exchange.request_id},
        "method": head.method,
        "path": unquote(path) if "%" in path else path,
        "raw_path": head.path,
        "query_string": head.query,
        "extensions": {},
    }


class _Cycle:
    """The two channels of one request."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._received = False
        self._head: bytes = b""
        """The head of the reply, held back until its first piece is here: one write instead of two."""

    async def receive(self) -> dict[str, Any]:
        exchange = self._exchange
        if self._received:
            await exchange.until_gone()
            return {"type": _DISCONNECT}
        try:
            piece, more = await exchange.receive()
        except ClientGoneError:
            return {"type": _DISCONNECT}
        except NoMemoryError:
            exchange.refuse(RefusalError(429, NO_MEMORY))
            return {"type": _DISCONNECT}
        except (RefusalError, BodyTooLargeError) as refusal:
            if isinstance(refusal, RefusalError):
                exchange.refuse(refusal)
            return {"type": _DISCONNECT}
        self._received = not more
        return {"type": "http.request", "body": piece if isinstance(piece, bytes) else bytes(piece), "more_body": more}

    async def send(self, message: Any) -> None:
        exchange = self._exchange
        if exchange.gone or exchange.abandoned:
            return
        if message["type"] == "http.response.start":
            self._start(message)
        elif message["type"] != "http.response.body":
            raise RuntimeError(f"'{message['type']}' is no message of a reply")
        elif not exchange.started:
            raise RuntimeError("a reply's body came before its start")
        elif exchange.answered:
            raise RuntimeError("a message came after the reply was complete")
        else:
            await exchange.drain()
            head, self._head = self._head, b""
            exchange.write(head, message.get("body", b""), message.get("more_body", False))

    def _start(self, message: Any) -> None:
        exchange = self._exchange
        if exchange.started:
            raise RuntimeError("a reply began twice")
        fields = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
        length = _length(fields)
        head = exchange.begin_reply(message["status"], fields, length)
        if length is None and not exchange.bodiless:
            exchange.write(head, b"", True)  # a stream: its head is not held back
        else:
            self._head = head


def _length(fields: list[tuple[bytes, bytes]]) -> int | None:
    for name, value in fields:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None
