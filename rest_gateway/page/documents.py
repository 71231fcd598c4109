"""Pages for people who open the API's URLs in a browser: a list of predictions, one of them, its history, and every problem.

The representation is negotiated (RFC 9110 12.5.1): who prefers `text/html` gets the JSON document inside a page, which
lays it out; who cannot run scripts reads the document itself.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from crossover.rest_gateway.api.negotiation import prefers
from crossover.transport.http1.reply_head import PHRASES
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crossover.endpoints.rest.types import ASGIApp, Receive, Scope, Send

TEMPLATE = Path(__file__).resolve().parent / "static" / "document.html"
_PAGES = (
    (re.compile(r"/api/predictions"), "predictions"),
    (re.compile(r"/api/predictions/[0-9a-fA-F-]{36}"), "prediction"),
    (re.compile(r"/api/predictions/[0-9a-fA-F-]{36}/history"), "history"),
)
_PROBLEM = "problem"
_JSON = (b"application/json", b"application/problem+json")
_CONDITIONS = (b"if-none-match", b"if-modified-since", b"if-match", b"accept")
_OF_THE_DOCUMENT = frozenset((b"content-type", b"content-length", b"etag", b"cache-control", b"vary"))
_VARY = (b"vary", b"Accept")
_INDENTED_BYTES = 1 << 20

Field = tuple[bytes, bytes]


class Documents:
    """An ASGI application around the gateway's own API; `headers` are those of the page at `/`."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self.app = app
        own = {**headers, "Cache-Control": "no-store", "Content-Type": "text/html; charset=utf-8"}
        self._headers = [(name.lower().encode(), value.encode()) for name, value in own.items()]
        self._template = TEMPLATE.read_text("utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        kind = next((name for path, name in _PAGES if path.fullmatch(scope["path"])), "")
        if not prefers("text/html", _value(scope["headers"], b"accept"), "application/json"):
            await self.app(scope, receive, _varying(send) if kind else send)
            return
        if kind:
            fields = [field for field in scope["headers"] if field[0] not in _CONDITIONS]
            scope["headers"] = [*fields, (b"accept", b"application/json")]
        await self.app(scope, receive, _Page(self, kind, send))

    def page(self, kind: str, status: int, body: bytes) -> bytes:
        """The page that shows a JSON document."""
        title = PHRASES.get(status, kind.capitalize()) if kind == _PROBLEM else kind.capitalize()
        values = {
            "title": html.escape(title),
            "kind": kind,
            "status": str(status),
            "document": html.escape(_text(body)),
        }
        return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], self._template).encode()

    def fields(self, original: Iterable[Field], size: int) -> list[Field]:
        """The header fields of a page in place of the document's."""
        replaced = _OF_THE_DOCUMENT | {name for name, _ in self._headers}
        remaining = [(name, value) for name, value in original if name.lower() not in replaced]
        return [*remaining, *self._headers, _VARY, (b"content-length", str(size).encode())]


class _Page:
    """Sends a page where a JSON document comes, and everything else as it is."""

    def __init__(self, documents: Documents, kind: str, send: Send) -> None:
        self._documents = documents
        self._kind = kind
        self._send = send
        self._start: Any = None
        self._body = bytearray()

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start" and self._becomes_page(message):
            self._start = message
        elif self._start is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    def _becomes_page(self, start: Any) -> bool:
        if start["status"] >= 400:
            self._kind = _PROBLEM
        kind = _value(start["headers"], b"content-type").partition(";")[0].encode()
        return bool(self._kind) and kind in _JSON and start["status"] not in (304, 204)

    async def _finish(self, start: Any) -> None:
        body = bytes(self._body)
        page = await off_loop(len(body), self._documents.page, self._kind, start["status"], body)
        await self._send({**start, "headers": self._documents.fields(start["headers"], len(page))})
        await self._send({"type": "http.response.body", "body": page})


def _varying(send: Send) -> Send:
    """What else there is at the same URL is said to caches (RFC 9110 12.5.5)."""

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start" and not _value(message["headers"], b"vary"):
            message = {**message, "headers": [*message["headers"], _VARY]}
        await send(message)

    return sent


def _value(headers: Iterable[Field], name: bytes) -> str:
    return ", ".join(value.decode("latin-1") for key, value in headers if key.lower() == name)


def _text(body: bytes) -> str:
    """Indented, for who reads it without scripts; a long one, which nobody reads, as it is."""
    if len(body) > _INDENTED_BYTES:
        return body.decode("utf-8", "replace")
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
