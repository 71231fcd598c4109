"""Other ways to ask the same of the same two services, each an arm of its own, where the services offer them.

    rest-h2             the HTTP request over HTTP/2 (ALPN with TLS, prior knowledge without: RFC 9113 3.3)
    rest-no-keepalive   the HTTP request on a connection of its own, whose opening is part of its time
    rest-tls-resumed    likewise, with a TLS handshake that resumes the last connection's session (RFC 8446, 2.2)
    connect             the method by the Connect protocol, unary over HTTP/1.1
    grpc-web            the method by gRPC-Web over HTTP/1.1 (PROTOCOL-WEB)

Whether a service offers one is asked with the first row, and its answer must be right, before anything is measured.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from crossover.comparison.load import http1, http2
from crossover.comparison.pair import documents, sides
from crossover.comparison.pair.errors import readable
from crossover.comparison.pair.same import GrpcAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.comparison.load.drive import Connection
    from crossover.comparison.load.sockets import Address
    from crossover.comparison.pair.sides import GrpcSide, RestSide

REST_H2, REST_NO_KEEPALIVE, REST_RESUMED = "rest-h2", "rest-no-keepalive", "rest-tls-resumed"
CONNECT, GRPC_WEB = "connect", "grpc-web"
MOST_SECONDS = 3.0
"""How long a service may take to show that it offers a form."""
_TRAILERS = 0x80
"""Flag of the frame that holds the trailers (PROTOCOL-WEB)."""
_CONNECT_PROTO, _WEB_PROTO = "application/proto", "application/grpc-web+proto"


@dataclass(frozen=True, slots=True)
class Form:
    """How requests that were made for `grpc` or `rest` go another way."""

    connect: Callable[[GrpcSide, RestSide, float], Connection]
    request: Callable[[GrpcSide, RestSide, str, bytes], Any]
    """What to send instead of the framed message, or of the whole HTTP request; the text is the method's path."""
    answer: Callable[[http1.Reply], GrpcAnswer] | None = None
    """Reads a reply of the gRPC service; None: it is read as `rest`'s are."""
    is_opened_anew: bool = False
    """Each request is on a connection of its own, whose opening is part of what is measured."""
    asks: int = 1
    """So many requests show whether a service offers it."""


def _with_alpn(address: Address, protocol: str) -> Address:
    return replace(address, tls=replace(address.tls, alpn=(protocol,))) if address.tls else address


def _over_http2(_: GrpcSide, rest: RestSide, timeout: float) -> Connection:
    return http2.Connection(_with_alpn(rest.address, "h2"), (), timeout)


def _once(_: GrpcSide, rest: RestSide, timeout: float) -> Connection:
    return http1.Connection(rest.address, timeout, once=True)


def _resumed(_: GrpcSide, rest: RestSide, timeout: float) -> Connection:
    if rest.address.tls is None:
        raise OSError("the HTTP service is not asked over TLS")
    return http1.Connection(rest.address, timeout, once=True, resume=True)


def _over_http1(grpc: GrpcSide, _: RestSide, timeout: float) -> Connection:
    return http1.Connection(_with_alpn(grpc.address, "http/1.1"), timeout)


def as_http2(_grpc: GrpcSide, rest: RestSide, _path: str, data: bytes) -> http2.Request:
    """An HTTP/1.1 request as HTTP/2 has it (RFC 9113 8.3.1)."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    fields = (
        (":method", method),
        (":scheme", "https" if rest.address.tls else "http"),
        (":path", target),
        (":authority", dict(headers)["host"]),
        *(item for item in headers if item[0] != "host"),
    )
    return http2.Request(fields, body)


def as_closing(_: GrpcSide, __: RestSide, ___: str, data: bytes) -> bytes:
    """The request, which says that no other follows."""
    return data.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)


def as_connect(grpc: GrpcSide, _: RestSide, path: str, data: bytes) -> bytes:
    """A unary call of the Connect protocol: the bare message."""
    own = {"connect-protocol-version": "1", "connect-timeout-ms": str(max(1, round(grpc.timeout * 1000)))}
    return _posted(grpc, path, _CONNECT_PROTO, own, data[sides.GRPC_HEAD :])


def as_web(grpc: GrpcSide, _: RestSide, path: str, data: bytes) -> bytes:
    """A gRPC-Web call: the message with its prefix."""
    own = {"x-grpc-web": "1", "grpc-timeout": f"{max(1, round(grpc.timeout * 1000))}m", "accept": _WEB_PROTO}
    return _posted(grpc, path, _WEB_PROTO, own, data)


def _posted(grpc: GrpcSide, path: str, kind: str, own: dict[str, str], body: bytes) -> bytes:
    headers = {"content-type": kind, "user-agent": "crossover-pair", **own, **dict(grpc.headers)}
    return http1.request_bytes("POST", path, grpc.authority, headers, body)


def connect_answer(reply: http1.Reply) -> GrpcAnswer:
    """A message with status 200, or a JSON error with a code (Connect protocol, "Unary-Response")."""
    kind, body = reply.header(b"content-type") or "", bytes(reply.body)
    if reply.status == 200 and kind.partition(";")[0] == _CONNECT_PROTO:
        return GrpcAnswer("OK", "", body)
    try:
        error = documents.read(body)
        code = str(error["code"]).upper().replace("CANCELED", "CANCELLED")
    except (ValueError, KeyError, TypeError):
        said = readable(body)
        return GrpcAnswer("UNKNOWN", f"HTTP {reply.status} that is no Connect reply{': ' + said if said else ''}", None)
    return GrpcAnswer(code, str(error.get("message", "")), None)


def web_answer(reply: http1.Reply) -> GrpcAnswer:
    """Message and trailers in frames of the body; a call that failed at once has its status in the head."""
    messages, trailers = [], {}
    body, at = bytes(reply.body), 0
    while at + sides.GRPC_HEAD <= len(body):
        end = at + sides.GRPC_HEAD + int.from_bytes(body[at + 1 : at + sides.GRPC_HEAD], "big")
        piece = body[at + sides.GRPC_HEAD : end]
        if body[at] & _TRAILERS:
            lines = (line.partition(":") for line in piece.decode("latin-1").split("\r\n"))
            trailers = {name.strip().lower(): value.strip() for name, _, value in lines}
        else:
            messages.append(piece)
        at = end
    status = trailers.get("grpc-status") or reply.header(b"grpc-status")
    text = urllib.parse.unquote(trailers.get("grpc-message") or reply.header(b"grpc-message") or "")
    if status is None or not status.isdecimal() or int(status) >= len(sides.CODES):
        return GrpcAnswer("UNKNOWN", f"HTTP {reply.status} that is no gRPC-Web reply", None)
    code = sides.CODES[int(status)]
    return GrpcAnswer(code, text, messages[0] if messages and code == "OK" else None)


FORMS = {
    REST_H2: Form(_over_http2, as_http2),
    REST_NO_KEEPALIVE: Form(_once, as_closing, is_opened_anew=True),
    REST_RESUMED: Form(_resumed, as_closing, is_opened_anew=True, asks=2),
    CONNECT: Form(_over_http1, as_connect, connect_answer),
    GRPC_WEB: Form(_over_http1, as_web, web_answer),
}
"""By the arm's name."""
