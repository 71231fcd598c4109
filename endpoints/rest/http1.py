"""uvicorn's HTTP/1.1 (httptools), with what it leaves out and without what a short reply need not pay for.

A short reply otherwise pays for a timer that is set and cancelled, and is checked and written in two steps.
"""

from __future__ import annotations

import asyncio
import re
import socket
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from crossover.endpoints.rest.direct import LARGEST_BODY, Direct, Heads, fields_of
from crossover.endpoints.rest.receiving import length_of
from crossover.transport.eager_start import begin, waiting
from crossover.transport.http1.receive_buffer import LargeBody

if TYPE_CHECKING:
    from crossover.endpoints.rest.errors import Reply

_JOINED_BYTES = 64 << 10
"""Head and body up to this size leave in one piece; larger ones are not copied together."""
_UPGRADE_HEADERS = frozenset({b"upgrade", b"connection", b"http2-settings"})
_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What must not stand in a header (RFC 9110 5.5)."""


class Cycle(RequestResponseCycle):
    """One request. Head and first piece of a reply whose length is known are one write instead of two: each is a system
    call and, with TCP_NODELAY, a packet. Replies without a length are streams, whose head is not held back.
    """

    _start: tuple[dict[str, Any], int] | None = None
    """The head that is held back, and the length that it tells."""

    async def send(self, message: Any) -> None:
        held, self._start = self._start, None
        if held is None:
            length = _length_in(message) if message["type"] == "http.response.start" else None
            if length is None:
                await super().send(message)
            else:
                self._start = (message, length)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self._write(*held, message):
            await super().send(held[0])  # type: ignore[arg-type]
            await super().send(message)

    def _write(self, start: dict[str, Any], length: int, message: dict[str, Any]) -> bool:
        """Head and first piece in one; False, and nothing done, for what is left to uvicorn, refusals included."""
        body, more = message.get("body", b""), message.get("more_body", False)
        left = length - len(body)
        head = self._head(start)
        if head is None or left < 0 or (left and not more) or self.scope["method"] == "HEAD" or self.access_log:
            return False
        self.response_started, self.waiting_for_100_continue = True, False
        self.chunked_encoding, self.expected_content_length = False, left
        if len(body) <= _JOINED_BYTES:
            self.transport.write(head + body)
        else:
            self.transport.writelines([head, body])
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
        return True

    def _head(self, start: dict[str, Any]) -> bytes | None:
        """Status line and headers; None where a header decides about the connection or is not one."""
        lines = [STATUS_LINE[start["status"]]]
        for name, value in (*self.default_headers, *start["headers"]):
            if name in (b"connection", b"transfer-encoding") or _UNSAFE.search(value):
                return None
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        return b"".join(lines)


def _length_in(start: dict[str, Any]) -> int | None:
    """The content-length of a reply's head; None when it has none that is a number."""
    for name, value in start["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else None
    return None


class LargeCycle(Cycle):
    """A cycle whose body is received as a whole, and handed over without a copy."""

    whole: bytes | memoryview | None = None

    async def receive(self) -> Any:
        message = await super().receive()
        if self.whole is not None and message["type"] == "http.request":
            message["body"], self.whole = cast(bytes, self.whole), None
        return message


class Http(HttpToolsProtocol):
    """Adds what uvicorn leaves out: TCP_NODELAY whatever socket accepted, bodies of requests that ask for an upgrade,
    OIP's error form for malformed HTTP, and large bodies without copies.
    """

    body: LargeBody | None = None
    takes_buffers = False
    """Whether the application takes bodies as memoryviews; ASGI has bytes."""
    heads: Heads | None = None
    """The listener's heads of replies, where its application knows the short way."""
    _head_is_new = False
    _idle_since: float | None = None
    _idle_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        accepted = transport.get_extra_info("socket")
        if accepted is not None and accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)
        if isinstance(self.cycle, Direct):
            self.cycle.lose()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = Cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: Any) -> None:
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade as upgrade:
            self._without_upgrade(bytes(data[upgrade.args[0] :]))
        else:
            if self._head_is_new:
                self._head_is_new = False
                if self.cycle.more_body:
                    self._go_the_long_way()
                    self._begin_large_body()

    def on_headers_complete(self) -> None:
        self._head_is_new = True
        direct = self._direct() if self.heads is not None and not self.access_log else None
        if direct is None:
            super().on_headers_complete()
        else:
            self.cycle = cast(Any, direct)

    def _direct(self) -> Direct | None:
        """The request whose head has come, if it can go the short way."""
        if (self.cycle is not None and not self.cycle.response_complete) or self.parser.get_method() != b"POST":
            return None
        fields = fields_of(self.headers)
        if not 0 <= fields.length < LARGEST_BODY or self.parser.get_http_version() != "1.1":
            return None
        route = self.app.short_way(self.url)
        return None if route is None else Direct(route, fields.by_name)

    def _go_the_long_way(self) -> None:
        """The body is not here yet: whoever waits for it keeps time, and that is a task's work."""
        direct = self.cycle
        if isinstance(direct, Direct):
            self.cycle = cast(Any, None)
            super().on_headers_complete()
            self.cycle.body += direct.body

    def on_message_complete(self) -> None:
        super().on_message_complete()
        direct = self.cycle
        if isinstance(direct, Direct) and not direct.begun:
            direct.begun = True
            direct.task = begin(self.loop, self._answer(direct))
            if direct.task is not None:
                self.tasks.add(direct.task)
                direct.task.add_done_callback(self.tasks.discard)

    async def _answer(self, direct: Direct) -> None:
        if self.flow.write_paused:
            await waiting()
            await self.flow.drain()
        reply = await self.app.answer(direct)
        if self.flow.write_paused:
            await self.flow.drain()
        if reply is not None and not direct.disconnected:
            self._reply(direct, reply)

    def _reply(self, direct: Direct, reply: Reply) -> None:
        size = sum(map(len, reply.parts))
        assert self.heads is not None
        head = self.heads.head(
            STATUS_LINE[reply.status], self.server_state.default_headers, reply.headers, size, direct.keep_alive
        )
        if size <= _JOINED_BYTES:
            self.transport.write(b"".join([head, *reply.parts]))
        else:
            self.transport.writelines([head, *reply.parts])
        direct.response_complete = True
        if not direct.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _begin_large_body(self) -> None:
        """Let the rest of the body pass the parser by. Nobody has read of it yet: the request's task has not run."""
        size, boundary = length_of(self.headers)
        cycle = self.cycle
        if not size or self.pipeline or len(cycle.body) >= size:
            return
        self.body = LargeBody(size, cycle.body, boundary)
        cycle.body = bytearray()
        cycle.message_event.clear()
        cycle.__class__ = LargeCycle
        self.flow.resume_reading()

    def body_received(self) -> None:
        """The large body is whole: the request goes on, and a fresh parser waits for the next."""
        body, self.body = self.body, None
        assert body is not None
        self._unset_keepalive_if_required()
        if isinstance(self.cycle, LargeCycle):
            self.cycle.whole = body.memory.toreadonly() if self.takes_buffers else bytes(body.memory)
        self.on_message_complete()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def on_response_complete(self) -> None:
        """As uvicorn has it, but for the timer: one of a connection goes on, and looks when it is due."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        self._idle_timer = None
        if self._idle_since is None:
            return  # the next reply sets it again
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle_timer = self.loop.call_later(left, self._look_whether_idle)
        else:
            self.timeout_keep_alive_handler()

    def _should_upgrade(self) -> bool:
        return True

    def _without_upgrade(self, rest: bytes) -> None:
        """Read the request again without its Upgrade, which a server may ignore (RFC 9110 7.8).

        The parser stops at the end of the head of such a request, so its body would be lost; curl --http2 and Java's
        client ask for h2c with every first request.
        """
        if self.scope["method"] == "CONNECT":
            self.send_400_response("")
            return
        lines = [b"%b: %b\r\n" % (name, value) for name, value in self.headers if name not in _UPGRADE_HEADERS]
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (self.scope["method"].encode(), self.url, b"".join(lines))
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's signature
        body = b'{"error":"the request is not valid HTTP/1.1","code":"INVALID_ARGUMENT"}'
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self.transport.close()
