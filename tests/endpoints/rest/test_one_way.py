"""There is one way for a request: however its bytes come and whoever brings it, the same function answers it."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from pathlib import Path

import pytest

from crossover.endpoints.rest import OipRest, RestListener, RestOptions, app
from tests.endpoints.rest.service import FakeInference, ImmediateInference, served


def body_of(**more) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    return json.dumps({"inputs": [tensor], **more}).encode()


def post(body: bytes, model: str = "echo", query: str = "", *fields: str) -> bytes:
    head = f"POST /v2/models/{model}/infer{query} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n"
    return (head + "".join(f"{field}\r\n" for field in fields) + "\r\n").encode() + body


async def reply(reader: asyncio.StreamReader) -> bytes:
    """A whole reply, without what differs from one to the next."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
    return re.sub(rb"(date|x-request-id): .*?\r\n", b"", head) + await reader.readexactly(length)


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
async def test_however_a_request_comes_it_gets_the_same(name, kind):
    """Whole, in two pieces, and chunked, it is answered with the same bytes, on a connection that stays."""
    request = REQUESTS[name]
    cut = request.index(b"\r\n\r\n") + 4
    async with served(RestOptions(max_message_bytes=200), upstream="grpc", kind=kind) as service, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(request)
        whole = await reply(reader)
        writer.write(request[:cut])
        await asyncio.sleep(0.05)
        writer.write(request[cut:])
        assert await reply(reader) == whole
        writer.write(request)
        assert await reply(reader) == whole
        writer.write(chunked(request))
        assert (await reply(reader)).replace(b"connection: close\r\n", b"") == whole
        writer.close()


def chunked(request: bytes) -> bytes:
    """The same request without a length."""
    head, _, body = request.partition(b"\r\n\r\n")
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    pieces = [body[at : at + 50] for at in range(0, len(body), 50)]
    return head + b"\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize("name", REQUESTS)
async def test_an_asgi_server_gets_the_same(name):
    """Mounted in an ASGI application, the endpoint's replies have the status, the fields and the body that ours have."""
    options = RestOptions(max_message_bytes=200)
    endpoint = OipRest(lambda _: ("grpc", FakeInference()), settings=options)

    async def mounting(scope, receive, send):
        await endpoint(scope, receive, send)

    listener = RestListener(mounting, "127.0.0.1", 0)
    await listener.start()
    async with served(options, upstream="grpc") as service, asyncio.timeout(20):
        answers = []
        for port in (service.port, listener.port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUESTS[name])
            head, _, body = (await reply(reader)).partition(b"\r\n\r\n")
            answers.append((sorted(head.split(b"\r\n")), body))
            writer.close()
        assert answers[0] == answers[1]
    await listener.stop(1)


ONCE = {
    "TimeLimit": "the deadline",
    "exceeded": "what it says when the deadline has passed",
    "read": "taking the body within its limit",
    "decompress": "its content coding",
    "started": "the metrics' beginning",
    "finished": "and their end",
    "server_timing": "the stations",
    "as_inference_error": "the mapping of errors",
}


@pytest.mark.parametrize("name", ONCE)
def test_each_guard_stands_once(name):
    """Whoever brings a request, each guard of it is called from one place in the endpoint."""
    sites = [
        f"{path.name}:{node.lineno}"
        for path in sorted(Path(app.__file__).parent.glob("*.py"))
        if path.name not in ("body.py", "compression.py")  # bodies of other ASGI applications; zlib's own names
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and name == getattr(node.func, "attr", getattr(node.func, "id", ""))
    ]
    assert len(sites) == 1, f"{ONCE[name]}: {sites}"


@pytest.mark.parametrize("kind", [FakeInference, ImmediateInference])
async def test_pipelined_requests_keep_their_order(kind):
    """What comes behind a request waits for it, whoever answers."""
    async with served(kind=kind) as service, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(
            post(body_of(id="1")) + post(body_of(id="2")) + b"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n"
        )
        first, second, third = [await reply(reader) for _ in range(3)]
        assert (b'"1"' in first, b'"2"' in second) == (True, True)
        assert third.startswith(b"HTTP/1.1 200")
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
