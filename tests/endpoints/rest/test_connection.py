"""A connection and its replies: how long it is kept, and what an application's reply becomes on the wire."""

import asyncio

import pytest

from crossover.endpoints.rest.serve import RestListener
from crossover.transport.http1.limits import Http1Limits
from tests.endpoints.rest.service import served

ASK = b"GET /v2/health/live HTTP/1.1\r\nhost: here\r\n\r\n"


async def _reply(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a reply with a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    )
    return head, await reader.readexactly(length)


async def test_a_connection_in_use_outlives_the_keep_alive_time_and_an_idle_one_does_not():
    """Requests that come again within the time keep it open well beyond it; then it is closed by itself."""
    async with served(limits=Http1Limits(keep_alive_seconds=1)) as service, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        for _ in range(5):
            writer.write(ASK)
            head, _ = await _reply(reader)
            assert head.startswith(b"HTTP/1.1 200 ")
            await asyncio.sleep(0.4)
        assert await reader.read() == b""
        writer.close()


async def test_requests_sent_together_are_answered_in_their_order():
    """Pipelined requests (RFC 9112 9.3.2), the last of which closes the connection."""
    async with served() as service, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        last = ASK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        writer.write(ASK + b"GET /nowhere HTTP/1.1\r\nhost: here\r\n\r\n" + last)
        heads = [(await _reply(reader))[0] for _ in range(3)]
        assert [head.split(b" ")[1] for head in heads] == [b"200", b"404", b"200"]
        assert [b"connection: close" in head.lower() for head in heads] == [False, False, True]
        assert await reader.read() == b""
        writer.close()


START = {"type": "http.response.start", "status": 200}
TEXT = (b"content-type", b"text/plain")
REPLIES = {
    "whole": ([(b"content-length", b"5")], [b"whole"], b"whole"),
    "in pieces": ([(b"content-length", b"9")], [b"in ", b"pie", b"ces"], b"in pieces"),
    "large": ([(b"content-length", b"200000")], [bytes(200_000)], bytes(200_000)),
    "empty": ([(b"content-length", b"0")], [b""], b""),
    "closing": ([(b"content-length", b"3"), (b"connection", b"close")], [b"bye"], b"bye"),
    "without a length": ([], [b"str", b"eam"], b"3\r\nstr\r\n3\r\neam\r\n0\r\n\r\n"),
    "shorter than said": ([(b"content-length", b"9")], [b"four"], b""),
    "longer than said": ([(b"content-length", b"2")], [b"four"], b""),
    "not a header": ([(b"content-length", b"2"), (b"x-name", b"a\r\nx-other: b")], [b"ok"], b""),
}
BROKEN = ("shorter than said", "longer than said", "not a header")


def _application(headers, pieces):
    async def application(scope, receive, send):
        if scope["type"] != "http":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send(START | {"headers": [TEXT, *headers]})
        for piece in pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": pieces[-1]})

    return application


@pytest.mark.parametrize("name", REPLIES)
async def test_any_application_s_reply_is_sent_as_it_was_given(name):
    """Whole or in pieces, with or without a length; what is not HTTP never reaches the client as a whole reply."""
    headers, pieces, body = REPLIES[name]
    listener = RestListener(_application(headers, pieces), "127.0.0.1", 0)
    await listener.start()
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            writer.write(ASK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
            answer = await reader.read()
            writer.close()
    finally:
        await listener.stop(0.3)
    head, _, sent = answer.partition(b"\r\n\r\n")
    assert b"x-other" not in head
    if name in BROKEN:
        assert len(sent) < int(headers[0][1])
    else:
        assert sent == body
        assert head.lower().count(b"connection: close") == 1
