"""The HTTP/1.1 client against servers that behave, misbehave and vanish."""

import asyncio
import contextlib

import numpy as np
import pytest
import uvloop

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.transport.http1.client import HttpPool, Origin
from tests.endpoints.rest.service import served

X = Tensor.from_array("x", np.array([[1.5, -2]], np.float32))
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Scripted:
    """A server that answers each request on a connection with the next text of its script, then closes it."""

    def __init__(self, *scripts: list[bytes]) -> None:
        self.scripts = list(scripts)
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for text in script:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                writer.write(text)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def scripted(*scripts: list[bytes], **options):
    server = Scripted(*scripts)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/base/", **options)
        yield server, pool
        await pool.close()


def get(pool: HttpPool):
    return asyncio.wait_for(pool.request("GET", "/path", [("a", "b")], []), 10)


@pytest.mark.parametrize("piece", [1 << 20, 70_000, 1000])
async def test_a_large_reply_is_whole(piece):
    """In pieces of any size, bit for bit, and the connection serves the next call; then one that ends in the middle."""
    body = np.random.default_rng(1).bytes(300_000)
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + body

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for sent in (whole, OK, whole, whole[:200_000]):
            await reader.readuntil(b"\r\n\r\n")
            for at in range(0, len(sent), piece):
                writer.write(sent[at : at + piece])
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        assert [bytes((await get(pool)).body) for _ in range(3)] == [body, b"ok", body]
        with pytest.raises(InferenceError) as lost:
            await get(pool)
        assert lost.value.code is Code.UNAVAILABLE
        await pool.close()


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_connection_is_kept_after_a_large_reply(run):
    """On either event loop: uvloop asks for room again when a body is whole, before it knows that nothing more came."""
    body = bytes(300_000)
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + body

    async def three_times():
        async with scripted([whole] * 3) as (server, pool):
            for _ in range(3):
                assert (await get(pool)).body == body
                await asyncio.sleep(0.02)
            assert server.connections == 1

    run(three_times())


async def test_a_connection_is_used_again():
    """One connection serves calls that follow each other; the prefix of the base URL goes before every path."""
    async with scripted([OK, OK, OK]) as (server, pool):
        for _ in range(3):
            reply = await get(pool)
            assert (reply.status, reply.body) == (200, b"ok")
    assert server.connections == 1
    assert server.requests[0].startswith(b"GET /base/path HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\na: b\r\n" in server.requests[0]


async def test_a_stale_connection_is_replaced_without_an_error():
    """A kept-alive connection that the server has closed meanwhile costs one more attempt, on a new connection."""
    async with scripted([OK]) as (server, pool):
        for _ in range(4):
            assert (await get(pool)).body == b"ok"
    assert server.connections == 4


async def test_a_service_that_closes_on_the_request_is_unavailable():
    """A fresh connection that is closed without an answer is an error, and the request is not repeated for ever."""
    async with scripted([b""]) as (server, pool):
        with pytest.raises(InferenceError, match="closed the connection before it had answered") as caught:
            await get(pool)
        assert caught.value.code is Code.UNAVAILABLE
        assert server.connections == 1


async def test_a_service_that_closes_twice_was_asked_twice():
    """After a stale connection the request is sent once more, not more often."""
    async with scripted([OK, b""], [b""]) as (server, pool):
        assert (await get(pool)).body == b"ok"
        with pytest.raises(InferenceError):
            await get(pool)
        assert server.connections == 2


@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
@pytest.mark.parametrize(
    "reply",
    [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
     (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n"
     b"content-length: 5\r\n\r\nabcde"),
     b"HTTP/1.1 200 OK\r\nCoNtEnT-LeNgTh: 5\r\n\r\nabcde"],
)  # fmt: skip
async def test_every_framing_is_read(reply, piece):
    """Lengths, chunks and interim replies, in pieces of any size."""

    async def serve(reader, writer):
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            for start in range(0, len(reply), piece):
                writer.write(reply[start : start + piece])
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        for _ in range(2):
            assert (await get(pool)).body == b"abcde"
        await pool.close()


async def test_a_body_may_end_with_the_connection():
    """A reply without length or chunks ends when the server closes (RFC 9112 6.3)."""
    async with scripted([b"HTTP/1.1 200 OK\r\n\r\nuntil the end"]) as (_, pool):
        assert (await get(pool)).body == b"until the end"


@pytest.mark.parametrize(
    "reply", [b"nonsense\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0\0\0\0\0", b"SSH-2.0-OpenSSH\r\n",
              b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"],
)  # fmt: skip
async def test_what_is_not_http_is_an_error(reply):
    """A service that speaks something else is named in one sentence."""
    async with scripted([reply]) as (_, pool):
        with pytest.raises(InferenceError, match=r"answered with something that is not HTTP/1\.1") as caught:
            await get(pool)
        assert caught.value.code is Code.UNKNOWN


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", b"HTTP/1.1 200 OK\r\ncontent-le",
              b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"],
)  # fmt: skip
async def test_a_truncated_reply_is_an_error(reply):
    """A reply that is cut short is never taken for a whole one."""
    async with scripted([reply]) as (_, pool):
        with pytest.raises(InferenceError, match="closed the connection") as caught:
            await get(pool)
        assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize(
    "reply", [b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 999,
              b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 30 + b"\r\n\r\n"],
)  # fmt: skip
async def test_a_reply_over_the_limit_is_refused(reply):
    """The limit holds from the announced length, and while counting what comes."""
    async with scripted([reply], max_reply_bytes=100) as (_, pool):
        with pytest.raises(InferenceError) as caught:
            await get(pool)
        assert caught.value.code in (Code.TOO_LARGE, Code.UNKNOWN)


async def test_an_early_refusal_is_read_while_the_body_is_still_being_sent():
    """A 413 that comes before the body was taken is the answer; the connection is not used again."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        reply = await asyncio.wait_for(pool.request("POST", "/", [], [bytes(50_000_000)]), 10)
        assert (reply.status, reply.body) == (413, b"no")
        assert not pool._idle
        await pool.close()


async def test_nobody_there_is_unavailable_at_once(free_port):
    """A refused connection is one sentence that names the target."""
    pool = HttpPool(f"http://127.0.0.1:{free_port}")
    with pytest.raises(
        InferenceError, match=f"cannot connect to http://127.0.0.1:{free_port}: connection refused"
    ) as caught:
        await get(pool)
    assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:99999", "", "http://x:y"])
def test_a_url_that_is_none_is_refused(url):
    """The sentence shows what a base URL looks like."""
    with pytest.raises(InferenceError, match="base URL such as"):
        Origin(url)


async def test_no_more_connections_than_allowed():
    """Calls beyond the limit wait for a connection; all are answered."""
    open_now, most = 0, 0

    async def serve(reader, writer):
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.001)
                writer.write(OK)
        open_now -= 1
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", connections=3)
        replies = await asyncio.gather(*(get(pool) for _ in range(50)))
        assert [reply.body for reply in replies] == [b"ok"] * 50
        assert most == 3
        await pool.close()


async def test_cancelling_a_call_cancels_the_work_and_frees_the_connection(service, connect):
    """The connection of a cancelled call is closed, which the service sees; the next call works."""
    client = connect(service.url, connections=1)
    call = asyncio.create_task(client.infer(InferRequest("hang", [X]), CallContext()))
    await asyncio.wait_for(service.inference.started.wait(), 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(service.inference.cancelled.wait(), 10)
    assert (await client.infer(InferRequest("echo", [X]), CallContext(deadline.after(10)))).id == ""


async def test_answers_do_not_mix_when_calls_are_cancelled_at_random(service, connect):
    """Whatever is cancelled when, every call that ends gets its own answer."""
    client = connect(service.url, "rest-binary", connections=4)

    async def one(number: int) -> bool:
        request = InferRequest("echo", [Tensor.from_array("x", np.full((1, 2), number, np.float32))], id=str(number))
        response = await client.infer(request, CallContext())
        return response.id == str(number) and response.output("x").array.tolist() == [[number, number]]

    calls = [asyncio.create_task(one(number)) for number in range(200)]
    for number, call in enumerate(calls):
        if number % 3 == 0:
            await asyncio.sleep(0.0005)
            call.cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    finished = [result for result in results if not isinstance(result, asyncio.CancelledError)]
    assert finished
    assert finished == [True] * len(finished)


async def test_a_service_that_comes_back_is_found_again(connect):
    """After a restart on the same port the same client works without being made anew."""
    async with served() as service:
        port = service.port
        client = connect(service.url)
        await client.infer(InferRequest("echo", [X]), CallContext())
    with pytest.raises(InferenceError) as caught:
        await client.infer(InferRequest("echo", [X]), CallContext())
    assert caught.value.code is Code.UNAVAILABLE
    async with served(port=port):
        assert (await client.infer(InferRequest("echo", [X]), CallContext())).model_version == "7"


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [(b"502 Bad Gateway", b"<html>", Code.UNAVAILABLE, "HTTP status 502"),
     (b"418 I'm a teapot", b"", Code.INVALID_ARGUMENT, "418"),
     (b"404 Not Found", b'{"error":"no model"}', Code.NOT_FOUND, "no model"),
     (b"500 X", b'{"error":{"a":1}}', Code.INTERNAL, "500"),
     (b"400 X", b'{"error":"e","code":"NOT_FOUND"}', Code.INVALID_ARGUMENT, "e"),
     (b"302 Found", b"", Code.UNKNOWN, "302"),
     (b"200 OK", b"<html>", Code.UNKNOWN, "cannot be read"), (b"200 OK", b"[]", Code.UNKNOWN, "cannot be read"),
     (b"200 OK", b'{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[1]}]}', Code.UNKNOWN, "be read"),
     (b"204 No Content", b"", Code.UNKNOWN, "204")],
)  # fmt: skip
async def test_replies_of_other_services_become_one_sentence(connect, status, body, code, text):
    """Proxies and other servers: the status gives the code, their text is taken when it has OIP's form."""
    reply = b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
    if status.startswith(b"204"):
        reply = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with scripted([reply]) as (_, pool):
        client = connect(pool.origin.url)
        with pytest.raises(InferenceError, match=text) as caught:
            await client.infer(InferRequest("m", [X]), CallContext())
        assert caught.value.code is code
