"""Heads of replies. They repeat themselves for as long as the date does, so they are made once a second."""

from __future__ import annotations

import http
import re
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from crossover.protocol.bounded_cache import BoundedCache
from crossover.transport.http1.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

PHRASES = {
    **{status.value: status.phrase for status in http.HTTPStatus},
    413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content",
    499: "Client Closed Request",
}  # fmt: skip
"""RFC 9110's names: Python has had them since 3.13, and others before."""
STATUS_LINES = {status: f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode() for status in range(100, 600)}
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_CODES = {
    400: "INVALID_ARGUMENT", 408: "DEADLINE_EXCEEDED", 413: "TOO_LARGE", 414: "INVALID_ARGUMENT", 417: "INVALID_ARGUMENT",
    429: "OVERLOADED", 431: "INVALID_ARGUMENT", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
    505: "UNIMPLEMENTED",
}  # fmt: skip
_KEPT, _CLOSED, _KEPT_1_0 = b"", b"connection: close\r\n", b"connection: keep-alive\r\n"


def refusal_code(status: int) -> str:
    """The name of the code that a refusal's status stands for."""
    return _CODES.get(status, "INVALID_ARGUMENT")


def refusal_reply(status: int, message: str) -> Reply:
    """What a connection says by itself, in the form of every other error."""
    text = message.replace("\\", "\\\\").replace('"', '\\"')
    body = f'{{"error":"{text}","code":"{refusal_code(status)}"}}'
    fields = [(b"content-type", b"application/json")]
    if status in (429, 503):
        fields.append((b"retry-after", b"1"))
    return Reply(status, fields, [body.encode()])


class ReplyHeads:
    """Makes the heads of a listener's replies."""

    def __init__(self, always: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """`always`: fields of every reply that does not say them itself."""
        self._always = always
        self._known: BoundedCache[tuple[object, ...], bytes] = BoundedCache()
        self._second = 0
        self._date = b""

    def whole(
        self,
        status: int,
        fields: Sequence[tuple[bytes, bytes]],
        length: int,
        version: str,
        keep_alive: bool,
        request_id: str,
    ) -> bytes:
        """The head of a reply with `length` bytes; -1: it says nothing about them, -2: it is chunked.

        `request_id` is printable ASCII; it goes behind what repeats itself.

        ValueError for a field that is not one (RFC 9110 5.5): what an application puts into a value must not become another
        field.
        """
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
            self._known.clear()
        key = (status, length, version, keep_alive, *fields)
        head = self._known.get(key)
        if head is None:
            head = self._made(status, fields, length, version, keep_alive)
            self._known.put(key, head, len(head))
        return b"%bx-request-id: %b\r\n\r\n" % (head, request_id.encode("ascii"))

    def _made(
        self, status: int, fields: Sequence[tuple[bytes, bytes]], length: int, version: str, keep_alive: bool
    ) -> bytes:
        lines = [STATUS_LINES[status], self._date]
        said = {name for name, _ in fields}
        for name, value in (*fields, *(field for field in self._always if field[0] not in said)):
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise ValueError(f"the reply's field {name!r} is not one")
            lines.append(b"%b: %b\r\n" % (name, value))
        if length >= 0:
            lines.append(b"content-length: %d\r\n" % length)
        elif length == -2:
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(_CLOSED if not keep_alive else _KEPT_1_0 if version == "1.0" else _KEPT)
        return b"".join(lines)
