"""The lean gRPC client against a server by `h2`, which sets limits, refuses, resets and goes away as the RFC allows."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder

from crossover.protocol.deadline import NEVER
from crossover.transport.grpc.client import Address, Channel
from crossover.transport.grpc.status import CallFailedError
from crossover.transport.http2 import frames as http2
from tests.transport.grpc.http2_server import OK, START, echo, message, serving


async def ended(call):
    with pytest.raises(CallFailedError) as caught:
        await asyncio.wait_for(call, 10)
    return caught.value.status


async def called(method, data=b"hello", **more):
    reply, _ = await asyncio.wait_for(method.call(data, NEVER, (), **more), 10)
    return bytes(reply)


async def test_the_request_is_grpc():
    """Method, path, content type, te, timeout and metadata are those of gRPC over HTTP/2, on every call alike."""
    async with serving() as (method, peers):
        for number in range(3):
            until = time.monotonic() + 30
            reply, _ = await method.call(b"hello", until, (("traceparent", f"00-{number}"), ("x-long", "y" * 300)))
            assert bytes(reply) == b"hello"
        (peer,) = peers
        for number, headers in enumerate(peer.headers.values()):
            assert headers[":method"] == "POST"
            assert headers[":path"] == "/a.Service/Method"
            assert headers[":scheme"] == "http"
            assert headers["content-type"] == "application/grpc"
            assert headers["te"] == "trailers"
            assert headers["grpc-timeout"].endswith("u")
            assert 29e6 < int(headers["grpc-timeout"][:-1]) <= 30e6
            assert (headers["traceparent"], headers["x-long"]) == (f"00-{number}", "y" * 300)


@pytest.mark.parametrize("table", [0, 100, 65536])
async def test_header_tables_of_any_size(table):
    """What the peer's header table holds is the peer's choice."""
    async with serving(settings={SettingCodes.HEADER_TABLE_SIZE: table}) as (method, peers):
        for _ in range(3):
            assert await called(method) == b"hello"
        assert len(peers[0].headers) == 3


@pytest.mark.parametrize("size", [0, 1, 999, 16_379, 16_380, 70_000, 500_000])
@pytest.mark.parametrize("window", [1, 1000, 65_535, 1 << 20])
async def test_windows_of_any_size(size, window):
    """Messages arrive whole through whatever window the peer grants, small ones past large ones that wait."""
    if window == 1:
        size = min(size, 999)
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with serving(settings={SettingCodes.INITIAL_WINDOW_SIZE: window}) as (method, _):
        replies = await asyncio.gather(called(method, data), called(method, b"small"), called(method, data))
    assert replies == [data, b"small", data]


async def test_no_more_calls_at_once_than_the_peer_takes():
    """Calls beyond SETTINGS_MAX_CONCURRENT_STREAMS wait their turn, and their deadlines run meanwhile."""

    def later(peer, stream, body, headers):
        peer.bodies[stream] = b""
        asyncio.get_running_loop().call_later(
            0.02, lambda: (peer.bodies.pop(stream), echo(peer, stream, body, headers))
        )

    async with serving(later, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2}) as (method, peers):
        await called(method)
        assert await asyncio.gather(*(called(method, bytes([n])) for n in range(9))) == [bytes([n]) for n in range(9)]
        assert peers[0].most_at_once == 2
        held = [asyncio.create_task(called(method)) for _ in range(2)]
        await asyncio.sleep(0)
        late = await ended(method.call(b"", time.monotonic() + 0.001, ()))
        assert (late.code, late.details) == (4, "Deadline Exceeded")
        await asyncio.gather(*held)


async def test_what_was_refused_is_sent_again():
    """REFUSED_STREAM means that nothing was done (RFC 9113, 8.7): once more, and then it is UNAVAILABLE."""
    refusals = [1, 1, 1]

    def answer(peer, stream, body, headers):
        if refusals:
            refusals.pop()
            peer.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        else:
            echo(peer, stream, body, headers)

    async with serving(answer) as (method, _):
        assert (await ended(method.call(b"", NEVER, ()))).code == 14
        assert await called(method) == b"hello"


@pytest.mark.parametrize(("ended_early", "code"), [(5, None), (10**6, 14)])
async def test_a_connection_that_ends_before_the_call_begins_is_no_attempt(monkeypatch, ended_early, code):
    """Each question about readiness renews the connection of a service that leaves: calls go on, if not for ever."""
    async with serving() as (method, peers):
        channel = method._channel
        connected = channel.connected
        left = ended_early

        async def ended_at_once(until):
            nonlocal left
            connection = await connected(until)
            left -= 1
            if left >= 0:
                connection.drain()
            return connection

        monkeypatch.setattr(channel, "connected", ended_at_once)
        if code is None:
            assert await called(method) == b"hello"
            assert sum(peer.most_at_once for peer in peers) == 1
        else:
            assert (await ended(method.call(b"", NEVER, ()))).code == code


async def test_goaway():
    """After GOAWAY what was begun comes to its end, what was not looked at goes to a new connection, as do new calls."""

    begun = []

    def answer(peer, stream, body, headers):
        if not begun:
            begun.append((peer, body))
        elif peer is begun[0][0]:
            peer.h2.close_connection(ErrorCodes.NO_ERROR, last_stream_id=1)
            asyncio.get_running_loop().call_later(0.05, finish, *begun[0])
        else:
            echo(peer, stream, body, headers)

    def finish(peer, body):
        """By hand: h2 sends nothing on a connection after its GOAWAY."""
        encoder = Encoder()
        peer.transport.write(
            http2.frame(http2.HEADERS, http2.END_HEADERS, 1, encoder.encode(START))
            + http2.frame(http2.DATA, 0, 1, body)
            + http2.frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, encoder.encode(OK))
        )

    async with serving(answer) as (method, peers):
        first = asyncio.create_task(called(method, b"first"))
        while not begun:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(called(method, b"second"))
        assert await asyncio.gather(first, second) == [b"first", b"second"]
        assert await called(method, b"third") == b"third"
        assert [len(peer.headers) for peer in peers] == [2, 2]


async def test_deadlines_and_cancels_reset_the_stream():
    """A call whose time is over or whose caller has gone is reset at the peer; its neighbours are not touched."""
    held = {}
    async with serving(lambda *request: held.update({request[2][5:]: request})) as (method, peers):
        stays = asyncio.create_task(called(method, b"stays"))
        gone = asyncio.create_task(called(method, b"gone"))
        late = await ended(method.call(b"late", time.monotonic() + 0.05, ()))
        assert (late.code, late.details) == (4, "Deadline Exceeded")
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        while len(peers[0].resets) < 2:
            await asyncio.sleep(0.005)
        echo(*held[b"stays"])
        assert await stays == b"stays"
        assert peers[0].resets == [held[b"late"][1], held[b"gone"][1]]


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (lambda peer, stream: peer.h2.send_headers(stream, [*START, ("grpc-status", "5"), ("grpc-message", "no %C3%A4")],
                                                   end_stream=True), 5, "no ä"),
        (lambda peer, stream: peer.h2.send_headers(stream, [(":status", "503")], end_stream=True), 14, "HTTP status 503"),
        (lambda peer, stream: peer.h2.send_headers(stream, [(":status", "404")]), 12, "HTTP status 404"),
        (lambda peer, stream: peer.h2.send_headers(stream, [(":status", "200"), ("content-type", "text/html")]), 2,
         "does not speak gRPC"),
        (lambda peer, stream: peer.reply(stream, message(b"x"), [("a", "b")]), 2, "without a gRPC status"),
        (lambda peer, stream: peer.reply(stream, message(b"x", compressed=1)), 13, "compressed"),
        (lambda peer, stream: peer.reply(stream, message(b"x") + message(b"y")), 13, "more than one message"),
        (lambda peer, stream: peer.reply(stream, message(b"xyz")[:-1]), 13, "no whole message"),
        (lambda peer, stream: peer.reply(stream, message(b"xyz")[:3]), 13, "no whole message"),
        (lambda peer, stream: peer.reply(stream, b"\0\x7f\xff\xff\xff"), 8, "larger than max"),
        (lambda peer, stream: peer.h2.reset_stream(stream, ErrorCodes.ENHANCE_YOUR_CALM), 8, "reset"),
        (lambda peer, stream: peer.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR), 13, "reset"),
        (lambda peer, stream: peer.transport.abort(), 14, "Socket closed"),
        (lambda peer, stream: peer.transport.write(b"\0\0\1\0\0\0\0\0\0rubbish" * 9), 14, "Socket closed|broke HTTP/2"),
    ],
)  # fmt: skip
async def test_how_calls_end(reply, code, words):
    """Every end that a peer can give a call is a gRPC status and a sentence, and the next call works."""
    bad = [True]

    def answer(peer, stream, body, headers):
        if bad:
            bad.pop()
            reply(peer, stream)
        else:
            echo(peer, stream, body, headers)

    async with serving(answer) as (method, _):
        found = await ended(method.call(b"", NEVER, ()))
        assert found.code == code
        assert any(word in found.details for word in words.split("|")), found.details
        assert await called(method) == b"hello"


async def test_replies_in_pieces():
    """An interim 103, padding, a header block in CONTINUATION frames and one-byte DATA frames change nothing."""

    def answer(peer, stream, body, headers):
        peer.h2.send_headers(stream, [(":status", "103")])
        peer.h2.send_headers(stream, [*START, ("x-long", "z" * 20_000)])
        for at in range(len(body)):
            peer.h2.send_data(stream, body[at : at + 1], pad_length=at % 3 or None)
        peer.h2.send_headers(stream, [*OK, ("note", "seen"), ("raw-bin", "AP8")], end_stream=True)

    async with serving(answer) as (method, _):
        reply, trailing = await method.call(b"hello", NEVER, (), trailing=True)
    assert bytes(reply) == b"hello"
    assert dict(trailing) == {"note": "seen", "raw-bin": b"\0\xff"}


async def test_a_reply_may_come_before_the_request_has_gone():
    """A server that answers early ends the call; the rest of the request is not sent."""

    async with serving(credit=False) as (method, peers):
        call = asyncio.create_task(method.call(bytes(1 << 20), NEVER, ()))
        while not peers or not peers[0].headers:
            await asyncio.sleep(0.005)
        peers[0].h2.send_headers(1, [*START, ("grpc-status", "8"), ("grpc-message", "too much")], end_stream=True)
        peers[0].flush()
        found = await ended(call)
        assert (found.code, found.details) == (8, "too much")
        while not peers[0].resets:
            await asyncio.sleep(0.005)


async def test_what_does_not_speak_http2_is_named_so():
    """An HTTP/1.1 service on the port is told from a gRPC one."""

    async def old(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(old, "127.0.0.1", 0)
    channel = Channel(Address.of(f"127.0.0.1:{server.sockets[0].getsockname()[1]}"), limit=1 << 20, user_agent="test")
    found = await ended(channel.method("/a/B").call(b"", NEVER, ()))
    assert (found.code, found.details) == (14, "Expected SETTINGS")
    server.close()


async def test_closing_ends_what_is_under_way():
    """Closed, calls under way are cancelled, an attempt to connect too; a later call opens another connection."""
    async with serving(lambda *_: None) as (method, peers):
        call = asyncio.create_task(method.call(b"", NEVER, ()))
        while not peers or not peers[0].headers:
            await asyncio.sleep(0.005)
        await method._channel.close()
        assert (await ended(call)).code == 1
        connecting = asyncio.create_task(method.call(b"", NEVER, ()))
        await asyncio.sleep(0)
        await method._channel.close()
        assert (await ended(connecting)).code == 1
        again = asyncio.create_task(method.call(b"", NEVER, ()))
        while len(peers) < 2 or not peers[-1].headers:
            await asyncio.sleep(0.005)
        again.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await again


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8001", Address("127.0.0.1", 8001, authority="127.0.0.1:8001")),
        ("dns:///models.local:9000", Address("models.local", 9000, authority="models.local:9000")),
        ("[::1]:8001", Address("::1", 8001, authority="[::1]:8001")),
        ("models.local", Address("models.local", 443, authority="models.local")),
        ("unix:/tmp/a.sock", Address("", 0, "/tmp/a.sock")),
    ],
)
def test_addresses(text, address):
    """The forms of a gRPC target."""
    assert Address.of(text) == address


@pytest.mark.parametrize("text", ["", "http://a:1", "a:b", "a:99999"])
def test_no_addresses(text):
    """Anything else is named."""
    with pytest.raises(ValueError, match="is not a gRPC address"):
        Address.of(text)
