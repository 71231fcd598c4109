"""The HTTP/1.1 client against servers that behave, misbehave and vanish."""

import asyncio
import contextlib
import socket
import struct
import time

import numpy as np
import pytest
import uvloop

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.transport.http1 import client as http1_client
from crossover.transport.http1 import client_connection
from crossover.transport.http1.client import HttpPool, Origin
from crossover.transport.http1.client_connection import MOST_FIELDS, MOST_HEAD_BYTES
from tests.endpoints.rest.service import served
from tests.freezing import freezing

X = Tensor.from_array("x", np.array([[1.5, -2]], np.float32))
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
EMPTY = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


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


def post(pool: HttpPool, body: bytes = b"work", until: float = deadline.NEVER):
    return asyncio.wait_for(pool.request("POST", "/path", [], [body], until), 10)


async def test_a_connection_that_was_closed_meanwhile_is_not_used():
    """A server that closes after each reply is met on a new connection each time: no request is written to a closed one."""
    async with scripted([OK]) as (server, pool):
        for _ in range(4):
            assert (await post(pool)).body == b"ok"
    assert (server.connections, len(server.requests)) == (4, 4)


async def test_an_end_that_the_loop_has_not_seen_is_seen_before_the_request_is_written():
    """The event loop may be busy while the server closes: the connection is asked, and the POST goes to a new one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.getsockname()[1]}")
        answered = 0

        def answer(stay: bool) -> None:
            nonlocal answered
            accepted, _ = listener.accept()
            accepted.recv(1000)
            accepted.sendall(OK)
            answered += 1
            if stay:
                kept.append(accepted)
            else:
                accepted.close()

        kept: list[socket.socket] = []
        first = asyncio.create_task(post(pool))
        await asyncio.to_thread(answer, True)
        await first
        await asyncio.sleep(0.02)  # no longer used so recently that it is not asked
        kept.pop().close()  # and the loop does not run before the next request
        second = asyncio.create_task(post(pool))
        await asyncio.to_thread(answer, False)
        assert (await second).body == b"ok"
        assert answered == 2
        await pool.close()


@pytest.mark.parametrize("kept_alive", [False, True])
async def test_a_post_that_may_have_been_looked_at_is_never_sent_again(kept_alive):
    """A server that reads the whole POST and closes without a byte has had it once; the caller is told UNAVAILABLE."""
    script = [OK, b""] if kept_alive else [b""]
    async with scripted(script, [OK, OK, OK]) as (server, pool):
        if kept_alive:
            await post(pool)
        with pytest.raises(InferenceError, match="closed the connection before it had answered") as caught:
            await post(pool, b"only once")
        assert caught.value.code is Code.UNAVAILABLE
        assert sum(request.endswith(b"only once") for request in server.requests) == 1
        assert (await post(pool)).body == b"ok"


async def test_load_and_unload_are_never_sent_again(connect):
    """Control calls follow the same rule: what kills the server is not given to its successor."""
    for call in ("load_model", "unload_model"):
        async with scripted([EMPTY, b""], [EMPTY]) as (server, pool):
            client = connect(pool.origin.url)
            await getattr(client, call)("m", {}, CallContext())
            with pytest.raises(InferenceError) as caught:
                await getattr(client, call)("m", {}, CallContext())
            assert caught.value.code is Code.UNAVAILABLE
            assert len(server.requests) == 2


async def test_a_get_that_a_kept_connection_closed_upon_is_sent_once_more():
    """GET changes nothing (RFC 9110 9.2.2); after the second end there is no third try."""
    async with scripted([OK, b""], [OK]) as (server, pool):
        assert [(await get(pool)).body for _ in range(2)] == [b"ok", b"ok"]
        assert len(server.requests) == 3
    async with scripted([OK, b""], [b""]) as (server, pool):
        await get(pool)
        with pytest.raises(InferenceError):
            await get(pool)
        assert server.connections == 2


async def test_a_service_that_closes_on_the_request_is_unavailable():
    """A fresh connection that is closed without an answer is an error, and the request is not repeated for ever."""
    async with scripted([b""]) as (server, pool):
        with pytest.raises(InferenceError, match="closed the connection before it had answered") as caught:
            await get(pool)
        assert caught.value.code is Code.UNAVAILABLE
        assert server.connections == 1


@pytest.mark.parametrize("timeout", [b"timeout=1", b"max=5, timeout = 1"])
async def test_a_connection_is_given_up_before_the_server_would_close_it(timeout):
    """`Keep-Alive: timeout=` is honoured with a second to spare."""
    told = b"HTTP/1.1 200 OK\r\nkeep-alive: %b\r\ncontent-length: 2\r\n\r\nok" % timeout
    async with scripted([told, OK]) as (server, pool):
        await post(pool)
        await post(pool)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("said", "idle_seconds", "connections"),
    [(b"", 3.5, 1), (b"", 4.5, 2),  # uvicorn says nothing and waits 5 s
     (b"keep-alive: timeout=5\r\n", 3.5, 1), (b"keep-alive: timeout=5, max=100\r\n", 4.5, 2),  # Node.js, Apache
     (b"keep-alive: timeout=75\r\n", 73.5, 1), (b"keep-alive: timeout=75\r\n", 74.5, 2),  # nginx
     (b"keep-alive: timeout=2\r\n", 0.5, 1), (b"keep-alive: timeout=2\r\n", 1.5, 2),
     (b"keep-alive: timeout=0\r\n", 0.0, 2), (b"keep-alive: max=9\r\n", 3.5, 1), (b"keep-alive: max=9\r\n", 4.5, 2)],
)  # fmt: skip
async def test_an_idle_connection_is_used_only_while_its_server_keeps_it(said, idle_seconds, connections):
    """A second less than the server says; less than any common server's time where it says nothing."""
    async with scripted([b"HTTP/1.1 200 OK\r\n" + said + b"content-length: 0\r\n\r\n", OK], [OK]) as (server, pool):
        await post(pool)
        pool._idle[0].heard_at -= idle_seconds
        await post(pool)
    assert server.connections == connections


async def test_an_idle_connection_is_given_up(monkeypatch):
    """Without the header after a time of our own, whether or not another request comes."""
    monkeypatch.setattr(client_connection, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(http1_client, "IDLE_SECONDS", 0.05)
    async with scripted([OK, OK]) as (server, pool):
        await post(pool)
        until = time.monotonic() + 10
        while pool._idle:
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        await post(pool)
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


@pytest.mark.parametrize("kept_alive", [False, True])
async def test_an_early_refusal_is_not_lost_when_the_server_resets(kept_alive):
    """A server that refuses without reading and closes with a reset: its reply is read before the failed write counts."""

    def refuse(listener: socket.socket) -> None:
        accepted, _ = listener.accept()
        with accepted:
            if kept_alive:
                accepted.recv(1000)
                accepted.sendall(OK)
            accepted.recv(100)
            accepted.sendall(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
            time.sleep(0.05)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.getsockname()[1]}")
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listener))
        if kept_alive:
            await post(pool)
        reply = await post(pool, bytes(50_000_000))
        assert (reply.status, reply.body) == (413, b"no")
        await refusing
        await pool.close()


LONG = b"x" * (MOST_HEAD_BYTES + 40_000)
MANY = b"".join(b"h%d: x\r\n" % number for number in range(MOST_FIELDS + 1))
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"


@pytest.mark.parametrize("piece", [3000, 1 << 20])
@pytest.mark.parametrize(
    "reply",
    [b"HTTP/1.1 200 OK\r\nh: " + LONG + b"\r\ncontent-length: 2\r\n\r\nok",
     b"HTTP/1.1 200 OK\r\n" + LONG + b": x\r\ncontent-length: 2\r\n\r\nok",
     b"HTTP/1.1 200 " + LONG + b"\r\ncontent-length: 2\r\n\r\nok",
     b"HTTP/1.1 200 OK\r\n" + MANY + b"content-length: 2\r\n\r\nok",
     CHUNKED + b"0\r\n" + MANY + b"\r\n",
     CHUNKED + b"0\r\nt: " + LONG + b"\r\n\r\n",
     CHUNKED + b"0;" + LONG + b"\r\n\r\n",
     b"HTTP/1.1 100 Continue\r\n\r\n" * 4000 + OK],
    ids=["value", "name", "reason", "fields", "trailers", "trailer", "chunk extension", "interim"],
)  # fmt: skip
async def test_what_is_not_body_is_bounded(reply, piece):
    """Heads, trailers, chunk extensions and interim replies beyond the bound are one sentence, and no memory."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for at in range(0, len(reply), piece):
                writer.write(reply[at : at + piece])
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
        with pytest.raises(
            InferenceError, match=r"a head or trailers of more than 64 KiB or 100 fields|not HTTP"
        ) as got:
            await get(pool)
        assert got.value.code is Code.UNKNOWN
        await pool.close()


@pytest.mark.parametrize("trailer", [b"connection: close", b"content-encoding: gzip", b"inference-timeline: 1"])
async def test_trailers_are_dropped(trailer):
    """A reply's trailers are no header fields (RFC 9110 6.5.1): they change neither the reply nor the connection."""
    async with scripted([CHUNKED + b"0\r\n" + trailer + b"\r\n\r\n", OK]) as (server, pool):
        reply = await get(pool)
        assert (reply.body, set(reply.headers)) == (b"ok", {b"transfer-encoding"})
        await get(pool)
        assert server.connections == 1


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


@contextlib.asynccontextmanager
async def hanging(**options):
    """A pool of a server that takes everything and answers nothing."""
    connections = []

    async def serve(reader, writer):
        connections.append(writer)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", **options)
        yield pool
        await pool.close()
        for writer in connections:
            writer.close()


async def test_a_full_pool_says_so_early(monkeypatch):
    """Who waits for a connection is told after half of its time at most, not at its deadline."""
    monkeypatch.setattr(http1_client, "LONGEST_WAIT_SECONDS", 0.1)
    async with hanging(connections=2) as pool:
        calls = [asyncio.create_task(post(pool)) for _ in range(2)]
        await asyncio.sleep(0.05)
        for left in (60, 0.1):
            until = deadline.after(left)
            with pytest.raises(InferenceError, match=r"no connection to .* is free: all 2 are in use") as caught:
                await post(pool, until=until)
            assert caught.value.code is Code.OVERLOADED
            assert deadline.remaining(until) > 0
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_call_that_would_wait_too_long_is_refused_when_it_comes(monkeypatch):
    """By how long the calls before it held their connections; one that has time to wait does wait."""

    async def serve(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await asyncio.sleep(0.2)
                writer.write(OK)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        pool = HttpPool(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", connections=1)
        pool._line._mean = 0.2
        first = asyncio.create_task(get(pool))
        await asyncio.sleep(0)
        patient = asyncio.create_task(get(pool))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        with pytest.raises(InferenceError) as caught:
            await pool.request("GET", "/", [], [], deadline.after(0.3))
        assert caught.value.code is Code.OVERLOADED
        assert asyncio.get_running_loop().time() - began < 0.1
        assert [reply.body for reply in await asyncio.gather(first, patient)] == [b"ok"] * 2
        await pool.close()


async def test_connections_that_fell_silent_are_not_used_again(service, connect, monkeypatch):
    """After one call that waits in silence the other idle connections are as suspect: the next call opens a fresh one.

    The waiting call itself goes on: a slow model looks the same, and a POST is not sent again.
    """
    monkeypatch.setattr(client_connection, "SILENT_SECONDS", 0.2)
    async with freezing(service.port) as proxy:
        client = connect(f"http://127.0.0.1:{proxy.port}")
        await asyncio.gather(*(client.infer(InferRequest("echo", [X]), CallContext()) for _ in range(8)))
        assert proxy.connections == 8
        proxy.freeze()
        waiting = asyncio.create_task(client.infer(InferRequest("echo", [X]), CallContext(deadline.after(60))))
        await asyncio.sleep(0.4)
        assert (await client.infer(InferRequest("echo", [X]), CallContext(deadline.after(5)))).model_version == "7"
        assert proxy.connections == 9
        assert not waiting.done()
        waiting.cancel()


async def test_health_and_control_have_connections_of_their_own(service, connect):
    """Inference that holds every connection neither hides that the service is ready nor stops its control."""
    client = connect(service.url, connections=1)
    call = asyncio.create_task(client.infer(InferRequest("hang", [X]), CallContext()))
    await asyncio.wait_for(service.inference.started.wait(), 10)
    assert await client.server_ready(CallContext(deadline.after(10)))
    assert await client.model_ready("echo", "", CallContext(deadline.after(10)))
    assert (await client.server_metadata(CallContext(deadline.after(10)))).name
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


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


def _outcome(reply) -> tuple:
    return (reply.status, reply.headers, bytes(reply.body))


@pytest.mark.parametrize(
    "replies",
    [
        [b"HTTP/1.1 200 OK\r\na: 1\r\ncontent-length: 2\r\nx-request-id: %d\r\n\r\nok" % n for n in range(4)],
        [b"HTTP/1.1 404 Not Found\r\nX-Request-Id: 1\r\ncontent-length: 2\r\na: %d\r\n\r\nno" % (n % 2) for n in range(4)],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\na: 1\r\na: 2\r\n\r\n%d%d" % (n, n) for n in range(4)],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"] * 3,
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: identity\r\n\r\nok"] * 3,
        [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nkeep-alive: timeout=9\r\n\r\n"] * 3,
        [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"] * 3,
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokay"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\nok",
         b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\0b\r\n\r\nok"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\r\n\r\nok",
         b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-request-id: a\nconnection: close\r\n\r\nok"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"] * 3,
    ],
)  # fmt: skip
async def test_a_head_that_has_come_before_is_read_as_the_first_time(replies, monkeypatch):
    """The same reply or the same error, whether the parser reads it or its head is remembered."""

    async def outcomes() -> list:
        found = []
        async with scripted(replies) as (_, pool):
            for _ in replies:
                try:
                    found.append(_outcome(await get(pool)))
                except InferenceError as error:
                    found.append((error.code, error.message.partition(" ")[2]))
        return found

    remembered = await outcomes()
    monkeypatch.setattr(client_connection.ClientConnection, "_take_known", lambda *_: False)
    assert remembered == await outcomes()


async def test_heads_that_repeat_are_not_parsed_again(monkeypatch):
    """Of a service's replies that differ in their body and request id, the parser reads one."""
    parsed = []
    parse = client_connection.ClientConnection._parse
    monkeypatch.setattr(
        client_connection.ClientConnection, "_parse", lambda self, *given: (parsed.append(1), parse(self, *given))[1]
    )
    head = b"HTTP/1.1 200 OK\r\nserver: one of its own\r\ncontent-length: 2\r\nx-request-id: %d\r\n\r\n%d"
    async with scripted([head % (n, n) for n in range(10, 15)]) as (_, pool):
        replies = [await get(pool) for _ in range(5)]
    assert [reply.headers[b"x-request-id"] for reply in replies] == [reply.body for reply in replies]
    assert len(parsed) == 1
