"""Reading a request's head: httptools splits it into tokens, the rules that it leaves to others stand here.

For whoever changes this file:

- A head is read when all of it is here, so what is answered never depends on how its bytes were split into packets.
- Bounds come first, before anything is copied; then the request line (RFC 9112 3), the fields (5), Host (3.2) and how the
  body is framed (6). The first rule that is broken decides the status.
- Where RFC 9112 leaves the choice between repairing and refusing, we refuse: two readers that repair in two ways are how
  requests are smuggled (11.2).
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import httptools

from crossover.protocol.bounded_cache import BoundedCache
from crossover.transport.http1.limits import MAX_FIELDS, MAX_HEAD_BYTES, MAX_TARGET_BYTES
from crossover.transport.http1.messages import CHUNKED, RefusalError, RequestHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.transport.http1.messages import Fields

_METHOD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}"
"""A token (RFC 9110 5.6.2) no longer than any method is: the same bound whether a head comes whole or in pieces."""
_BEGINNING = re.compile(_METHOD + rb"(?: |\Z)")
"""How every request begins, whatever part of it has come."""
_REQUEST_LINE = re.compile(rb"(" + _METHOD + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])\r\n")
_END = re.compile(rb"\n\r?\n")
"""The end of a head, also where its lines end in LF alone: such a head is refused, but it has to end somewhere."""
_HOST = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%25[\w.~-]+)?\]|(?:[\w.~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::\d{0,5})?", re.ASCII
)
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_PATH = re.compile(rb"[\r\n]*[^\s]{1,32} +(?i:https?://[^/?#\s]*)?(/[^?#\s]*)")
"""The path in a request line that may be no good otherwise."""
_LONGEST_LENGTH = 18
"""Digits of a Content-Length; more than any body has."""
_METHOD_SPACE = 64


def find_end(raw: bytearray, at: int, stop: int, searched: int) -> int:
    """Where the head that begins at `at` ends; -1 when it is not whole. The first `searched` bytes hold no end.

    RefusalError when what is here is more than a head may have, or cannot become one.
    """
    end = raw.find(b"\r\n\r\n", at + max(0, searched - 3), stop)
    if end >= 0:
        end += 4
    else:
        found = _END.search(raw, at + max(0, searched - 3), stop)
        end = found.end() if found is not None else -1
    if end < 0 or end - at > MAX_TARGET_BYTES:
        _check_bounds(raw, at, stop if end < 0 else end)
    return end


def _check_bounds(raw: bytearray, at: int, stop: int) -> None:
    if not _BEGINNING.match(raw, at, min(stop, at + 40)):
        raise RefusalError(400, "the request does not begin with a method of HTTP/1.1")
    if stop - at > MAX_TARGET_BYTES + _METHOD_SPACE and raw.find(b"\n", at, at + MAX_TARGET_BYTES + _METHOD_SPACE) < 0:
        raise _target_too_long()
    if stop - at > MAX_HEAD_BYTES:
        raise RefusalError(431, f"the request's head has more than {MAX_HEAD_BYTES} bytes")
    if raw.count(b"\n", at, stop) > MAX_FIELDS + 2:
        raise _too_many_fields()


def _target_too_long() -> RefusalError:
    return RefusalError(414, f"the request's target has more than {MAX_TARGET_BYTES} bytes")


def _too_many_fields() -> RefusalError:
    return RefusalError(431, f"the request has more than {MAX_FIELDS} header fields")


def path_in(raw: bytes | bytearray, at: int = 0, stop: int | None = None) -> bytes:
    """The path of the request that begins at `at`, as far as there is one: whoever is refused reads the form of that API."""
    found = _PATH.match(raw, at, min(len(raw) if stop is None else stop, at + 512))
    return found[1] if found is not None else b""


class HeadReader:
    """Reads heads, and remembers small ones for as long as clients repeat them."""

    def __init__(self, route: Callable[[RequestHead], object] | None = None) -> None:
        self._route = route
        self._known: BoundedCache[bytes, RequestHead] = BoundedCache()

    def read(self, raw: bytes) -> RequestHead:
        """The head in `raw`, which ends with an empty line; RefusalError for what is not one."""
        head = self._known.get(raw)
        if head is None:
            head = parse(raw)
            if self._route is not None:
                head.route = self._route(head)
            if head.repeats:
                self._known.put(raw, head, len(raw))
        return head


class _Tokens:
    """What httptools calls back with."""

    def __init__(self) -> None:
        self.fields: Fields = []
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True


_LINES: BoundedCache[bytes, tuple[tuple[bytes, bytes], str, str]] = BoundedCache(most_entry_bytes=512)
"""Field lines that were read before: the field, and its name and value as text. Most lines of most heads repeat."""
_HOSTS: BoundedCache[str, bool] = BoundedCache(most_entry_bytes=256)


def parse(raw: bytes) -> RequestHead:
    """The head in `raw`, or RefusalError."""
    if not raw.endswith(b"\r\n\r\n") or ((cut := _END.search(raw)) is not None and cut.end() < len(raw)):
        raise RefusalError(400, "a line of the request's head ends in LF without CR")
    line = _REQUEST_LINE.match(raw)
    if line is None:
        raise RefusalError(
            400, "the request line is not that of HTTP/1.1: method, target and version, each after one space"
        )
    method, target, major, minor = line.groups()
    if len(target) > MAX_TARGET_BYTES:
        raise _target_too_long()
    if major != b"1":  # RFC 9110 15.6.6
        raise RefusalError(505, f"HTTP/{major.decode()}.{minor.decode()} is not spoken here; use HTTP/1.1")
    version = "1.0" if minor == b"0" else "1.1"
    fields, by_name, repeats = _fields(raw[line.end() :])
    if method == b"CONNECT":
        raise RefusalError(400, "this is no proxy: CONNECT is not served")
    authority, path, query = _target(method, target)
    host = _host(by_name.get("host"), version)
    keep_alive = version == "1.1"
    if (connection := by_name.get("connection")) is not None:
        options = {item.strip().lower() for item in connection.split(",")}
        keep_alive = "close" not in options and (keep_alive or "keep-alive" in options)
    return RequestHead(
        method.decode("ascii"), target, path, query, version, fields, by_name, host if authority is None else authority,
        _length(by_name, version), keep_alive, "expect" in by_name and _expects_continue(by_name["expect"], version),
        repeats,
    )  # fmt: skip


def _fields(raw: bytes) -> tuple[Fields, dict[str, str], bool]:
    """The header fields, in order and by name; and whether every line of them has come before."""
    lines = raw.split(b"\r\n")[:-2]
    if len(lines) > MAX_FIELDS:
        raise _too_many_fields()
    read = {line: _LINES.get(line) for line in lines}
    new = [line for line, field in read.items() if field is None]
    if new:
        read.update(zip(new, _tokens(new), strict=True))
    fields: Fields = []
    by_name: dict[str, str] = {}
    for line in lines:
        field, name, text = read[line]  # type: ignore[misc]
        fields.append(field)
        by_name[name] = f"{by_name[name]}, {text}" if name in by_name else text
    return fields, by_name, not new


def _tokens(lines: list[bytes]) -> list[tuple[tuple[bytes, bytes], str, str]]:
    """Each line as a field. httptools takes no fold, no space before a colon, no bare CR, no NUL (RFC 9112 2.2, 5.1, 5.2)."""
    tokens = _Tokens()
    parser = httptools.HttpRequestParser(tokens)
    # How the body is framed is decided below; the parser never sees one. Nor does it see the request line, as methods and
    # versions that it does not know are none of its business.
    parser.set_dangerous_leniencies(lenient_transfer_encoding=True, lenient_chunked_length=True)
    try:
        parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", b"\r\n".join(lines), b"\r\n\r\n"]))
    except httptools.HttpParserUpgrade:
        pass  # a server may ignore Upgrade (RFC 9110 7.8); curl --http2 and Java ask for h2c with every first request
    except httptools.HttpParserError as error:
        reason = str(error)[:80].lower().rstrip(".")
        raise RefusalError(400, f"the request's header fields are not those of HTTP/1.1: {reason}") from None
    if not tokens.complete or len(tokens.fields) != len(lines):
        raise RefusalError(400, "the request's header fields are not those of HTTP/1.1")
    read = [(field, field[0].decode("ascii"), field[1].decode("latin-1")) for field in tokens.fields]
    for line, field in zip(lines, read, strict=True):
        _LINES.put(line, field, len(line))
    return read


def _target(method: bytes, target: bytes) -> tuple[str | None, bytes, bytes]:
    """Authority (None in origin form), path and query (RFC 9112 3.2)."""
    if target.startswith(b"/"):
        path, _, query = target.partition(b"#")[0].partition(b"?")
        return None, path, query
    if target == b"*" and method == b"OPTIONS":
        return None, target, b""
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        raise RefusalError(400, "the request's target is neither a path nor an absolute http URL")
    authority = absolute[1].decode("ascii")
    if not authority or not _is_host(authority):
        raise RefusalError(400, "the host in the request's target is not one")
    return authority, absolute[2] or b"/", absolute[3] or b""


def _host(host: str | None, version: str) -> str:
    """The Host field: one, and well formed; only HTTP/1.0 may leave it out (RFC 9112 3.2)."""
    if host is None:
        if version == "1.0":
            return ""
        raise RefusalError(400, "the request has no Host field; HTTP/1.1 takes exactly one")
    if _HOSTS.get(host) is None:
        if not _is_host(host):  # two of them are joined by a comma and a space, which is in no host
            raise RefusalError(400, "the request's Host field is not one host with an optional port")
        _HOSTS.put(host, True, len(host))
    return host


def _is_host(text: str) -> bool:
    """RFC 3986 3.2.2, without user information; an empty one is allowed for targets without an authority."""
    found = _HOST.fullmatch(text)
    if found is None:
        return False
    host, port = found["host"], text[len(found["host"]) + 1 :]
    if not host and port:
        return False
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1].partition("%")[0])
        except ValueError:
            return False
    return not port or int(port) <= 65535


def _length(by_name: dict[str, str], version: str) -> int:
    """How the body is framed (RFC 9112 6.3)."""
    codings, length = by_name.get("transfer-encoding"), by_name.get("content-length")
    if codings is None:
        if length is None:
            return 0
        if not (length.isascii() and length.isdigit()) or len(length) > _LONGEST_LENGTH:
            raise RefusalError(400, "the request's Content-Length is not one number of bytes")
        return int(length)
    if version == "1.0":  # RFC 9112 6.1: framing of HTTP/1.0 knows no transfer codings
        raise RefusalError(400, "an HTTP/1.0 request has Transfer-Encoding; HTTP/1.0 takes Content-Length")
    if length is not None:
        raise RefusalError(400, "the request has both Transfer-Encoding and Content-Length")
    names = [name.strip().lower() for name in codings.split(",")]
    if names == ["chunked"]:
        return CHUNKED
    if names.count("chunked") > 1:
        raise RefusalError(400, "the request's Transfer-Encoding applies chunked twice")
    raise RefusalError(501, "the request's Transfer-Encoding is not served; chunked alone is")


def _expects_continue(expect: str, version: str) -> bool:
    """RFC 9110 10.1.1; an HTTP/1.0 client cannot have meant it."""
    if version == "1.0":
        return False
    if expect.lower() != "100-continue":
        raise RefusalError(417, "the request's Expect is not 100-continue")
    return True
