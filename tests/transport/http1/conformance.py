"""RFC 9112, sections 2 to 9, and what RFC 9110 adds to them, as a table: bytes in, the statuses that come back, and whether
the connection stays.

`{get}` and `{post}` are paths that the port answers with 200; every request of the table that is right goes to one of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass

KEPT, CLOSED = "kept", "closed"


@dataclass(frozen=True)
class Case:
    name: str
    sent: bytes
    statuses: list[int]
    end: str = KEPT


BODY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}'
CHUNKS = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (10, BODY[:10], len(BODY) - 10, BODY[10:])
HOST = b"Host: localhost\r\n"


def get(*fields: bytes, target: bytes = b"{get}", version: bytes = b"1.1", method: bytes = b"GET") -> bytes:
    lines = fields or (b"Host: localhost",)
    return method + b" " + target + b" HTTP/" + version + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(
    *fields: bytes, body: bytes = BODY, length: bytes | None = b"%d" % len(BODY), version: bytes = b"1.1"
) -> bytes:
    framing = () if length is None else (b"Content-Length: " + length,)
    lines = (b"Host: localhost", *framing, *fields)
    return b"POST {post} HTTP/" + version + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def chunked(body: bytes = CHUNKS, *fields: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *fields, body=body, length=None)


NEXT = get()
"""What follows on a connection that stays."""

CASES = [
    # 2.2 Message parsing
    Case("empty lines before a request line", b"\r\n\r\n" + get(), [200]),
    Case("a line that ends in LF", b"GET {get} HTTP/1.1\nHost: localhost\r\n\r\n", [400], CLOSED),
    Case("a head that ends in LF LF", b"GET {get} HTTP/1.1\nHost: localhost\n\n", [400], CLOSED),
    Case("a bare CR in a value", get(b"Host: localhost", b"X: a\rb"), [400], CLOSED),
    Case("whitespace behind the request line", b"GET {get} HTTP/1.1\r\n Host: localhost\r\n\r\n", [400], CLOSED),
    Case("bytes that are not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20), [400], CLOSED),
    # 2.3 HTTP version
    Case("HTTP/2.0", get(version=b"2.0"), [505], CLOSED),
    Case("HTTP/3.0", get(version=b"3.0"), [505], CLOSED),
    Case("HTTP/0.9", get(version=b"0.9"), [505], CLOSED),
    Case("a minor version to come", get(version=b"1.2"), [200]),
    Case("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505], CLOSED),
    Case("a version in lower case", b"GET {get} http/1.1\r\n" + HOST + b"\r\n", [400], CLOSED),
    Case("no version", b"GET {get}\r\n" + HOST + b"\r\n", [400], CLOSED),
    # 3 Request line
    Case("two spaces", b"GET  {get} HTTP/1.1\r\n" + HOST + b"\r\n", [400], CLOSED),
    Case("a TAB for a space", b"GET\t{get} HTTP/1.1\r\n" + HOST + b"\r\n", [400], CLOSED),
    Case("a space in the target", b"GET {get} x HTTP/1.1\r\n" + HOST + b"\r\n", [400], CLOSED),
    Case("a target that is not ASCII", b"GET {get}\xc3\xbc HTTP/1.1\r\n" + HOST + b"\r\n", [400], CLOSED),
    Case("a long target", get(target=b"/v2/" + b"a" * 17_000), [414], CLOSED),
    Case("a target without end", b"GET /" + b"a" * 70_000, [414], CLOSED),
    # 3.2 Request target
    Case("absolute form", get(target=b"http://localhost{get}"), [200]),
    Case("absolute form with another host", get(b"Host: 127.0.0.1", target=b"http://localhost:80{get}"), [200]),
    Case("absolute form without an authority", get(target=b"http:///x"), [400], CLOSED),
    Case("a target that is neither path nor URL", get(target=b"v2"), [400], CLOSED),
    Case("authority form", get(target=b"localhost:80"), [400], CLOSED),
    Case("CONNECT", get(target=b"localhost:80", method=b"CONNECT"), [400], CLOSED),
    # 3.2 Host
    Case("no Host", get(b"X: y"), [400], CLOSED),
    Case("no Host in absolute form", get(b"X: y", target=b"http://localhost{get}"), [400], CLOSED),
    Case("two Hosts", get(b"Host: a", b"Host: b"), [400], CLOSED),
    Case("two equal Hosts", get(b"Host: a", b"Host: a"), [400], CLOSED),
    Case("a Host that is none", get(b"Host: a b"), [400], CLOSED),
    Case("a Host with a path", get(b"Host: a/b"), [400], CLOSED),
    Case("a Host with user information", get(b"Host: u@a"), [400], CLOSED),
    Case("a Host with a wrong port", get(b"Host: a:b"), [400], CLOSED),
    Case("a Host with a port too high", get(b"Host: a:65536"), [400], CLOSED),
    Case("a Host that is no IPv6 address", get(b"Host: [::1::]"), [400], CLOSED),
    Case("a Host that is an IPv6 address", get(b"Host: [::1]:8000"), [200]),
    Case("a Host that is an IPv4 address", get(b"Host: 127.0.0.1:8000"), [200]),
    Case("an empty Host", get(b"Host:"), [200]),
    Case("HTTP/1.0 without Host", get(b"X: y", version=b"1.0"), [200], CLOSED),
    Case("HTTP/1.0 with two Hosts", get(b"Host: a", b"Host: b", version=b"1.0"), [400], CLOSED),
    # 5 Field syntax
    Case("whitespace before the colon", get(b"Host: localhost", b"X : y"), [400], CLOSED),
    Case("no colon", get(b"Host: localhost", b"X"), [400], CLOSED),
    Case("no name", get(b"Host: localhost", b": y"), [400], CLOSED),
    Case("a name that is no token", get(b"Host: localhost", b"X(: y"), [400], CLOSED),
    Case("obs-fold", get(b"Host: localhost", b"X: a", b" b"), [400], CLOSED),
    Case("obs-fold by TAB", get(b"Host: localhost", b"X: a", b"\tb"), [400], CLOSED),
    Case("NUL in a value", get(b"Host: localhost", b"X: a\0b"), [400], CLOSED),
    Case("bytes over 0x7f in a value", get(b"Host: localhost", b"X: \xfc"), [200]),
    Case("whitespace around a value", get(b"Host: \t localhost \t", b"X:"), [200]),
    Case("100 fields", get(b"Host: localhost", *[b"X: y"] * 99), [200]),
    Case("101 fields", get(b"Host: localhost", *[b"X: y"] * 100), [431], CLOSED),
    Case("one large field", get(b"Host: localhost", b"X: " + b"y" * 70_000), [431], CLOSED),
    Case("fields without end", b"GET {get} HTTP/1.1\r\n" + b"X: y\r\n" * 20_000, [431], CLOSED),
    Case("a field without end", b"GET {get} HTTP/1.1\r\nX: " + b"y" * 200_000, [431], CLOSED),
    # 6.1 Transfer-Encoding
    Case("chunked", chunked(), [200]),
    Case("chunked in capitals", post(b"Transfer-Encoding: Chunked", body=CHUNKS, length=None), [200]),
    Case("a coding before chunked", post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS, length=None), [501], CLOSED),
    Case("another coding", post(b"Transfer-Encoding: gzip", length=None), [501], CLOSED),
    Case("identity", post(b"Transfer-Encoding: identity"), [400], CLOSED),
    Case("chunked twice", post(b"Transfer-Encoding: chunked, chunked", body=CHUNKS, length=None), [400], CLOSED),
    Case("chunked in two fields", chunked(CHUNKS, b"Transfer-Encoding: chunked"), [400], CLOSED),
    Case("chunked with a length", post(b"Transfer-Encoding: chunked", body=CHUNKS), [400], CLOSED),
    Case("chunked over HTTP/1.0", chunked().replace(b"HTTP/1.1", b"HTTP/1.0"), [400], CLOSED),
    # 6.2 Content-Length
    Case("a length that is no number", post(length=b"x"), [400], CLOSED),
    Case("a negative length", post(length=b"-1"), [400], CLOSED),
    Case("a length with a sign", post(length=b"+5"), [400], CLOSED),
    Case("a hexadecimal length", post(length=b"0x46"), [400], CLOSED),
    Case("an empty length", post(length=b""), [400], CLOSED),
    Case("a length in two parts", post(length=b"7 0"), [400], CLOSED),
    Case("a list of lengths", post(length=b"%d, %d" % (len(BODY), len(BODY))), [400], CLOSED),
    Case("two lengths", post(b"Content-Length: 1"), [400], CLOSED),
    Case("two equal lengths", post(b"Content-Length: %d" % len(BODY)), [400], CLOSED),
    Case("a length beyond 64 bits", post(length=b"9" * 30), [400], CLOSED),
    # 7.1 Chunked transfer coding
    Case("chunk extensions", chunked(CHUNKS.replace(b"a\r\n", b'a ;b=c;d="e"\r\n', 1)), [200]),
    Case("capital digits and leading zeros", chunked(CHUNKS.replace(b"a\r\n", b"000A\r\n", 1)), [200]),
    Case("a chunk size that is no number", chunked(b"zz\r\n"), [400], CLOSED),
    Case("a negative chunk size", chunked(b"-1\r\n"), [400], CLOSED),
    Case("a chunk size with 0x", chunked(b"0xa\r\n" + bytes(10) + b"\r\n0\r\n\r\n"), [400], CLOSED),
    Case("an empty chunk size", chunked(b"\r\n" + bytes(10) + b"\r\n0\r\n\r\n"), [400], CLOSED),
    Case("a chunk size of 17 digits", chunked(b"0" * 16 + b"1\r\na\r\n0\r\n\r\n"), [400], CLOSED),
    Case("a chunk longer than its size", chunked(b"2\r\nabc\r\n0\r\n\r\n"), [400], CLOSED),
    Case("a chunk line that ends in LF", chunked(b"2\nab\r\n0\r\n\r\n"), [400], CLOSED),
    Case("a bare CR in an extension", chunked(b"2;a\rb\r\nab\r\n0\r\n\r\n"), [400], CLOSED),
    Case("an extension without end", chunked(b"2;" + b"a" * 200_000), [400], CLOSED),
    Case("many extensions", chunked((b"1;" + b"a" * 4000 + b"\r\n \r\n") * 40 + b"0\r\n\r\n"), [400], CLOSED),
    # 7.1.2 Trailers: read and dropped
    Case("trailers", chunked(CHUNKS[:-2] + b"X: y\r\nZ:\r\n\r\n"), [200]),
    Case("a trailer that would refuse", chunked(CHUNKS[:-2] + b"Content-Encoding: br\r\n\r\n"), [200]),
    Case("a trailer that would close", chunked(CHUNKS[:-2] + b"Connection: close\r\n\r\n"), [200]),
    Case("a trailer that would frame", chunked(CHUNKS[:-2] + b"Content-Length: 5\r\n\r\n"), [200]),
    Case("a trailer that is no field", chunked(CHUNKS[:-2] + b"X\r\n\r\n"), [400], CLOSED),
    Case("a folded trailer", chunked(CHUNKS[:-2] + b"X: y\r\n z\r\n\r\n"), [400], CLOSED),
    Case("a large trailer", chunked(CHUNKS[:-2] + b"X: " + b"y" * 100_000 + b"\r\n\r\n"), [431], CLOSED),
    Case("trailers without end", chunked(CHUNKS[:-2] + b"X: y\r\n" * 30_000), [431], CLOSED),
    # 9.3 Persistence
    Case("Connection: close", get(b"Host: localhost", b"Connection: close"), [200], CLOSED),
    Case("close among others", get(b"Host: localhost", b"Connection: x, Close"), [200], CLOSED),
    Case("close in a second field", get(b"Host: localhost", b"Connection: x", b"Connection: close"), [200], CLOSED),
    Case("keep-alive", get(b"Host: localhost", b"Connection: keep-alive"), [200]),
    Case("HTTP/1.0", get(version=b"1.0"), [200], CLOSED),
    Case("HTTP/1.0 that stays", get(b"Host: localhost", b"Connection: keep-alive", version=b"1.0"), [200]),
    Case("HTTP/1.0 with a body", post(version=b"1.0"), [200], CLOSED),
    # 9.3.2 Pipelining
    Case("requests together", get() + post() + chunked() + get(), [200] * 4),
    Case("garbage behind a request", post() + b"\0\0\0\0 nonsense\r\n\r\n", [200, 400], CLOSED),
    Case("a wrong request behind a request", get() + get(b"X: y"), [200, 400], CLOSED),
    Case("requests behind the last", get(b"Host: localhost", b"Connection: close") + get(), [200], CLOSED),
    # 9.8 and RFC 9110 7.8 Upgrade: ignored
    Case("Upgrade", post(b"Connection: Upgrade", b"Upgrade: h2c"), [200]),
    Case("Upgrade and close", post(b"Connection: Upgrade, close", b"Upgrade: h2c"), [200], CLOSED),
    Case("Upgrade over HTTP/1.0", get(b"Connection: Upgrade", b"Upgrade: h2c", version=b"1.0"), [200], CLOSED),
    Case("Upgrade with a chunked body", chunked(CHUNKS, b"Connection: Upgrade", b"Upgrade: websocket"), [200]),
    # RFC 9110 10.1.1 Expect
    Case("Expect: 100-continue", post(b"Expect: 100-continue"), [100, 200]),
    Case("Expect: 100-continue, chunked", chunked(CHUNKS, b"Expect: 100-continue"), [100, 200]),
    Case("Expect: 100-continue over HTTP/1.0", post(b"Expect: 100-continue", version=b"1.0"), [200], CLOSED),
    Case("another expectation", post(b"Expect: a-miracle"), [417], CLOSED),
    # RFC 9110 9: methods, 6.4: bodies that nobody wants
    Case("HEAD", get(method=b"HEAD"), [200]),
    Case("a method that the path does not take", get(method=b"DELETE"), [405]),
    Case("a method that nobody knows", get(method=b"FOO"), [405]),
    Case("GET with a body", get(b"Host: localhost", b"Content-Length: 5") + b"hello", [200]),
    Case("a body for a path that is not there", post().replace(b"{post}", b"/v2/nowhere"), [404]),
    Case("a large body for a path that is not there",
         post(body=bytes(300_000), length=b"300000").replace(b"{post}", b"/v2/nowhere"), [404], CLOSED),
]  # fmt: skip


def filled(sent: bytes, get_path: bytes, post_path: bytes) -> bytes:
    return sent.replace(b"{get}", get_path).replace(b"{post}", post_path)


async def answers(port: int, pieces: list[bytes], follow: bytes, pause: float = 0.0) -> tuple[list[int], str]:
    """The statuses of the replies to what is sent in `pieces`, and how the connection was left.

    Whether it stays is asked by a further request, whose own status is not in the list.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(_until_closed(reader))
    with contextlib.suppress(ConnectionError):
        for piece in [*pieces, follow]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause)
    received = await asyncio.wait_for(reading, 30)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    statuses = split(received)
    if statuses and statuses[-1] == LAST_STATUS:
        return statuses[:-1], KEPT
    return statuses, CLOSED


LAST = b"GET /v2/the-last-one HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: text/last\r\n\r\n"
"""The request that asks whether a connection stays; its 404 is told from others by its place behind them."""
LAST_STATUS = -404


def split(received: bytes) -> list[int]:
    """The statuses of replies that came one behind the other; that to `LAST` is `LAST_STATUS`."""
    statuses: list[int] = []
    while received:
        head, found, rest = received.partition(b"\r\n\r\n")
        assert found, received[:200]
        status = int(re.match(rb"HTTP/1\.1 (\d{3}) ", head)[1])
        length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
        if status == 100:
            body, received = b"", rest
        elif b"transfer-encoding: chunked" in head.lower():
            body, _, received = rest.partition(b"0\r\n\r\n")
        else:
            size = int(length[1])
            # A reply to HEAD tells a length and has no body.
            size = 0 if rest[:5] == b"HTTP/" else size
            body, received = rest[:size], rest[size:]
            assert len(body) == size, (head, body)
        statuses.append(LAST_STATUS if b"the-last-one" in body else status)
    return statuses


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65536):
            received += chunk
    return received
