"""A small infer request that comes whole goes past ASGI; nobody can tell from what comes back."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from crossover.endpoints.rest import app, direct
from crossover.endpoints.rest.types import RestOptions
from tests.endpoints.rest.service import FakeInference, ImmediateInference, served


def body_of(**more) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    return json.dumps({"inputs": [tensor], **more}).encode()


def post(body: bytes, model: str = "echo", query: str = "", *fields: str) -> bytes:
    head = f"POST /v2/models/{model}/infer{query} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n"
    return (head + "".join(f"{field}\r\n" for field in fields) + "\r\n").encode() + body


async def reply(reader: asyncio.StreamReader) -> bytes:
    """A whole reply, without what differs from second to second."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
    return re.sub(rb"date: .*?\r\n", b"", head) + await reader.readexactly(length)


@pytest.fixture
def ways(monkeypatch):
    """Which way requests went: names as they come."""
    seen = []

    def watched(name, method):
        async def call(self, *given):
            seen.append(name)
            return await method(self, *given)

        return call

    monkeypatch.setattr(app.OipRest, "answer", watched("short", app.OipRest.answer))
    monkeypatch.setattr(app.OipRest, "_serve", watched("long", app.OipRest._serve))
    return seen


REQUESTS = {
    "right": post(body_of()),
    "an unknown model": post(body_of(), "nope"),
    "no JSON": post(b"{"),
    "empty": post(b""),
    "its time is over": post(body_of(), "echo", "", "Inference-Timeout-Ms: nonsense"),
    "with a timeline": post(body_of(), "echo", "", "Traceparent: 00-1-2-03"),
    "too large": post(body_of(id="x" * 300)),
    "a version": post(body_of(), "echo/versions/7"),
    "a query": post(body_of(), "echo", "?a=b"),
}


@pytest.mark.parametrize("kind", [FakeInference, ImmediateInference])
@pytest.mark.parametrize("name", REQUESTS)
async def test_both_ways_give_the_same(name, kind, ways):
    """The same request, whole and in two pieces, is answered with the same bytes, on a connection that stays."""
    request = REQUESTS[name]
    cut = request.index(b"\r\n\r\n") + 4
    async with served(RestOptions(max_message_bytes=200), upstream="grpc", kind=kind) as service, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        ways.clear()
        writer.write(request)
        whole = await reply(reader)
        writer.write(request[:cut])
        await asyncio.sleep(0.05)
        writer.write(request[cut:])
        assert await reply(reader) == whole
        writer.write(request)
        assert await reply(reader) == whole
        first = "long" if name == "a query" else "short"
        assert ways == [first, "short" if name == "empty" else "long", first]
        writer.close()


@pytest.mark.parametrize("kind", [FakeInference, ImmediateInference])
async def test_pipelined_requests_keep_their_order(kind, ways):
    """What comes behind a request on the short way waits for it, whatever its own way."""
    async with served(kind=kind) as service, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        ways.clear()
        writer.write(
            post(body_of(id="1")) + post(body_of(id="2")) + b"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n"
        )
        first, second, third = [await reply(reader) for _ in range(3)]
        assert (b'"1"' in first, b'"2"' in second) == (True, True)
        assert third.startswith(b"HTTP/1.1 200")
        assert ways == ["short", "short" if kind is ImmediateInference else "long", "long"]
        writer.close()


@pytest.mark.parametrize("field", ["Connection: close", "Expect: 100-continue", "Content-Encoding: identity"])
async def test_who_asks_for_more_goes_the_long_way(field, ways):
    """Whatever a request asks of the connection or its body's coding is uvicorn's to answer."""
    async with served() as service, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        ways.clear()
        writer.write(post(body_of(), "echo", "", field))
        assert (await reader.readline()).startswith((b"HTTP/1.1 200", b"HTTP/1.1 100"))
        assert ways == ["long"]
        writer.close()


async def test_what_is_there_at_once_needs_no_task():
    """An answer, or an error, that nobody waits for is given where the request came."""
    async with served(kind=ImmediateInference) as service, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(post(body_of()) + post(body_of(), "bug") + post(body_of(), "fail-OVERLOADED"))
        statuses = [(await reply(reader)).split()[1] for _ in range(3)]
        assert (statuses, service.inference.tasks) == ([b"200", b"500", b"429"], [None] * 3)
        rendered = service.observer.render().decode()
        assert 'crossover_requests_total{model="echo",route="infer",wire="rest"} 1.0' in rendered
        assert 'crossover_requests_in_flight{wire="rest"} 0.0' in rendered
        writer.close()


async def test_a_client_that_does_not_read_is_waited_for():
    """With replies that are not read the connection's requests wait, and all are answered in order when it reads."""
    many, big = 300, body_of(id="x" * 20_000)
    async with served(kind=ImmediateInference) as service, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1 << 16)
        for _ in range(many):
            writer.write(post(big))
        await asyncio.sleep(0.3)
        waited = len(service.inference.requests)
        replies = [await reply(reader) for _ in range(many)]
        assert waited < many
        assert len(set(replies)) == 1
        writer.close()


@pytest.mark.parametrize("kind", [FakeInference, ImmediateInference])
async def test_a_client_that_goes_cancels_its_work(kind):
    """Nobody works for a client that has gone."""
    async with served(kind=kind) as service, asyncio.timeout(20):
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(post(body_of(), "hang"))
        await service.inference.started.wait()
        writer.close()
        await service.inference.cancelled.wait()


async def test_the_fields_of_many_clients_are_not_kept_for_ever():
    """Field sets are remembered up to a bound."""
    for number in range(3 * direct._MOST_KEPT):
        direct.fields_of([(b"content-length", b"%d" % number)])
    assert len(direct._KEPT) <= direct._MOST_KEPT
