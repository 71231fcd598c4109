"""Where the two services are and how they are spoken to: addresses, TLS, headers, connections, single calls."""

from __future__ import annotations

import re
import select
import time
import urllib.parse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from crossover.comparison.load import http1, http2
from crossover.comparison.load.sockets import Address, Tls, opened
from crossover.comparison.pair.errors import PairError, readable
from crossover.comparison.pair.template import with_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

Headers = tuple[tuple[str, str], ...]

GRPC_HEAD = 5
"""Bytes before a message: compressed flag and length (PROTOCOL-HTTP2)."""
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OUR_OWN = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_RESERVED = frozenset({"te", "grpc-timeout", "grpc-encoding", "grpc-status", "connection", "host"})


@dataclass(frozen=True, slots=True)
class GrpcSide:
    """The gRPC service."""

    address: Address
    authority: str
    headers: Headers = ()
    timeout: float = 15.0

    def fields(self, path: str) -> Headers:
        """Header fields of a call (PROTOCOL-HTTP2, "Requests"); the deadline is told as other clients do."""
        return (
            (":method", "POST"),
            (":scheme", "https" if self.address.tls else "http"),
            (":path", path),
            (":authority", self.authority),
            ("te", "trailers"),
            ("grpc-timeout", f"{max(1, round(self.timeout * 1000))}m"),
            ("content-type", "application/grpc"),
            ("user-agent", "crossover-pair"),
            ("grpc-accept-encoding", "identity"),
            *self.headers,
        )

    def connect(self, path: str, timeout: float | None = None) -> http2.Connection:
        return http2.Connection(self.address, self.fields(path), timeout or self.timeout)

    def call(self, path: str, messages: Sequence[bytes]) -> GrpcReply:
        """One call with all its messages; PairError when there is no gRPC service that answers in time."""
        try:
            connection = self.connect(path)
        except OSError as error:
            raise PairError(f"no connection to the gRPC service at {self.address}: {reason(error)}") from None
        try:
            return grpc_reply(answered(connection, b"".join(map(framed, messages)), self.timeout))
        except OSError as error:
            raise PairError(f"the gRPC service at {self.address} does not answer {path}: {reason(error)}") from None
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class RestSide:
    """The HTTP service, and the request as a template."""

    address: Address
    host: str
    method: str
    target: str
    """Path and query; may hold places for a row's values."""
    headers: Headers = ()
    timeout: float = 15.0

    def connect(self, timeout: float | None = None) -> http1.Connection:
        return http1.Connection(self.address, timeout or self.timeout)

    def encoded(self, target: str, body: bytes | None) -> bytes:
        """The bytes of one request."""
        has = {name for name, _ in self.headers}
        headers = {"accept": "*/*", "user-agent": "crossover-pair", **dict(self.headers)}
        if body is not None and "content-type" not in has:
            headers["content-type"] = "application/json"
        return http1.request_bytes(self.method, target, self.host, headers, body)

    def call(self, data: bytes) -> http1.Reply:
        try:
            connection = self.connect()
        except OSError as error:
            raise PairError(f"no connection to the HTTP service at {self.address}: {reason(error)}") from None
        try:
            found: http1.Reply = answered(connection, data, self.timeout)
            return found
        except OSError as error:
            raise PairError(f"the HTTP service at {self.address} does not answer: {reason(error)}") from None
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class GrpcReply:
    """What a call gave, read."""

    code: str
    """The name of its status; `UNKNOWN` with a text where it had none."""
    text: str
    messages: tuple[bytes, ...]
    fields: dict[str, str]


def framed(message: bytes) -> bytes:
    """A message as it stands in DATA frames."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def grpc_reply(reply: http2.Reply) -> GrpcReply:
    """Status and messages of a reply; what is no gRPC is told as its HTTP status (http-grpc-status-mapping)."""
    fields, status = reply.fields, reply.fields.get("grpc-status")
    text = urllib.parse.unquote(fields.get("grpc-message", ""))
    if status is None:
        said = readable(reply.body)
        return GrpcReply(
            "UNKNOWN", f"HTTP {reply.status} without a grpc-status{': ' + said if said else ''}", (), fields
        )
    code = CODES[int(status)] if status.isdecimal() and int(status) < len(CODES) else f"code {status}"
    return GrpcReply(code, text, _messages(reply.body), fields)


def _messages(body: bytes) -> tuple[bytes, ...]:
    found, at = [], 0
    while at + GRPC_HEAD <= len(body):
        end = at + GRPC_HEAD + int.from_bytes(body[at + 1 : at + GRPC_HEAD], "big")
        if body[at]:
            raise http1.BrokenConnectionError("the service compressed its reply although it was not asked to")
        if end > len(body):
            raise http1.BrokenConnectionError("the service's reply ends within a message")
        found.append(body[at + GRPC_HEAD : end])
        at = end
    return tuple(found)


def answered(connection: Any, data: bytes, timeout: float) -> Any:
    """The reply to one request on an idle connection; TimeoutError when it takes longer than `timeout` seconds."""
    until = time.monotonic() + timeout
    poll = select.poll()
    connection.send(data)
    while (reply := connection.receive()) is None:
        poll.register(connection.fd, select.POLLIN | (select.POLLOUT if connection.unsent else 0))
        left = until - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError(f"no reply within {timeout:g} s")
        connection.flush()
    return reply.kept()


def reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


# what the command line says


def headers(given: Sequence[str], where: str, forbidden: frozenset[str]) -> Headers:
    """Headers from `Name: value` texts (grpcurl, curl); `${NAME}` comes from the environment."""
    found: list[tuple[str, str]] = []
    for text in given:
        name, colon, value = text.partition(":")
        name = name.strip()
        if not colon or not _TOKEN.fullmatch(name):
            raise PairError(f"{where} '{_hidden(text)}' is not written 'Name: value'")
        if name.lower() in forbidden:
            raise PairError(f"{where}: the header '{name}' is the load generator's own")
        value = with_environment(value.strip(), f"{where} '{name}'")
        if not value.isprintable() or not value.isascii():
            raise PairError(f"{where}: the value of '{name}' is not printable ASCII")
        found.append((name.lower(), value))
    return tuple(found)


def _hidden(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def grpc_side(target: str, given: Sequence[str], tls: Tls | None, timeout: float, servername: str | None) -> GrpcSide:
    """The gRPC service at `target`: HOST:PORT, [IPv6]:PORT, unix:PATH, each with grpc(s):// or http(s):// before it.

    Without a scheme TLS is used when `tls` is given, that is when any flag of TLS was.
    """
    scheme, rest = _scheme(target)
    secure = tls or Tls()
    chosen = {"": tls, "grpc": None, "http": None, "grpcs": secure, "https": secure}.get(scheme, secure)
    if scheme not in {"", "grpc", "http", "grpcs", "https"}:
        raise PairError(f"--grpc takes HOST:PORT or unix:PATH; '{target}' has the scheme '{scheme}'")
    if chosen is not None:
        chosen = replace(chosen, alpn=("h2",))
    address = _address(rest.rstrip("/"), "--grpc", chosen)
    authority = servername or ("localhost" if address.path else str(address))
    return GrpcSide(address, authority, headers(given, "--grpc-header", _RESERVED), timeout)


def _scheme(target: str) -> tuple[str, str]:
    for prefix in ("dns:///", "ipv4:", "ipv6:", "passthrough:///"):
        if target.startswith(prefix):
            return "", target[len(prefix) :]
    if target.startswith("unix:"):
        return "", target
    scheme, found, rest = target.partition("://")
    return (scheme.lower(), rest) if found else ("", target)


def _address(text: str, where: str, tls: Tls | None) -> Address:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path:
            raise PairError(f"{where}: unix: is followed by the path of a socket")
        return Address(path=path, tls=tls)
    match = re.fullmatch(r"\[([0-9A-Fa-f:.%]+)\]:(\d{1,5})|([^\s:/?#@\[\]]+):(\d{1,5})", text)
    port = int(match[2] or match[4]) if match else 0
    if match is None or not 0 < port < 65536:
        raise PairError(f"{where} takes HOST:PORT, [IPv6]:PORT or unix:PATH; '{text}' is none of them")
    return Address(match[1] or match[3], port, tls=tls)


def rest_side(
    request: str,
    given: Sequence[str],
    tls: Tls | None,
    timeout: float,
    *,
    has_body: bool,
    unix_socket: str | None = None,
) -> RestSide:
    """The HTTP service of `METHOD URL` (or a URL: POST with a body, else GET).

    A Unix socket is given beside the URL (curl's --unix-socket), or in it: `http://unix:/path.sock:/v1/hello`,
    `unix:/path.sock:/v1/hello`, `http+unix://%2Fpath.sock/v1/hello`.
    """
    first, _, url = request.strip().rpartition(" ")
    method = first.strip().upper() or ("POST" if has_body else "GET")
    if method not in _METHODS:
        raise PairError(
            f"--rest is written 'METHOD URL'; '{first.strip()}' is not one of {', '.join(sorted(_METHODS))}"
        )
    known = headers(given, "--rest-header", _OUR_OWN - {"host"})
    url, socket = _without_socket(url)
    parts = _split(url)
    chosen = replace(tls or Tls(), alpn=("http/1.1",)) if parts.scheme == "https" else None
    path = socket or unix_socket
    address = (
        Address(path=path, tls=chosen)
        if path
        else Address(parts.hostname or "", parts.port or _port(parts), tls=chosen)
    )
    host = dict(known).get("host") or parts.netloc.rpartition("@")[2] or "localhost"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return RestSide(address, host, method, target, tuple(item for item in known if item[0] != "host"), timeout)


def _port(parts: urllib.parse.SplitResult) -> int:
    return 443 if parts.scheme == "https" else 80


def _split(url: str) -> urllib.parse.SplitResult:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError as error:
        raise PairError(f"--rest: '{url}' is no URL: {error}") from None
    if not usable:
        raise PairError(f"--rest takes 'METHOD http://HOST:PORT/PATH'; '{url}' is no such URL")
    if parts.username is not None:
        raise PairError("--rest: the URL holds a user; give --rest-header 'Authorization: ...' instead")
    return parts


def _without_socket(url: str) -> tuple[str, str]:
    """The URL with a host in the place of a Unix socket, and the socket's path."""
    if match := re.fullmatch(r"(?:http://)?unix:(?://)?(/[^:]+)(?::(/.*)?)?", url):
        return f"http://localhost{match[2] or '/'}", match[1]
    if match := re.fullmatch(r"http\+unix://([^/]+)(/.*)?", url):
        return f"http://localhost{match[2] or '/'}", urllib.parse.unquote(match[1])
    return url, ""


def speaks_tls(address: Address) -> bool | None:
    """Whether a TLS handshake with `address` succeeds or fails for a reason of certificates; None: nobody is there."""
    try:
        opened(replace(address, tls=replace(address.tls or Tls(), insecure=True, alpn=("h2", "http/1.1")))).close()
    except ConnectionError:
        return None
    except OSError as error:
        return "certificate" in str(error).lower()
    return True
