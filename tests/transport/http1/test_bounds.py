"""What a client may make an HTTP port hold, and for how long; what becomes of its requests when it goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import resource
import socket
import time

import pytest
import uvloop

from crossover.endpoints.rest import RestOptions
from crossover.transport.http1.limits import LOOKAHEAD_BYTES, Http1Limits
from crossover.transport.http1.messages import Reply
from crossover.transport.http1.server import BUFFER_BYTES
from crossover.transport.memory_budget import MemoryBudget
from tests.endpoints.rest.service import FakeInference, ImmediateInference, served

X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
QUICK = Http1Limits(head_seconds=0.4, body_seconds=0.4, write_seconds=0.6, keep_alive_seconds=60)
ASK = b"GET /v2/health/live HTTP/1.1\r\nHost: here\r\n\r\n"


def infer(model: str = "echo", *fields: bytes, **beside) -> bytes:
    body = json.dumps({"inputs": [X], **beside}).encode()
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: here\r\n%bContent-Length: %d\r\n\r\n%b" % (
        model.encode(),
        lines,
        len(body),
        body,
    )


@contextlib.asynccontextmanager
async def connected(port: int, limit: int = 1 << 16):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        async with asyncio.timeout(25):
            yield reader, writer
    finally:
        writer.transport.abort()


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def application(scope, receive, send):
    """An ASGI application behind the routes: /slow takes its time, /reads its body, /big is large, others are there."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(1.5)
    if scope["path"] == "/reads":
        while (await receive()).get("more_body"):
            pass
    body = bytes(8 << 20) if scope["path"] == "/big" else b"there"
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# Time


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"", b""), (b"GET /v2", b" 408 "), (b"GET /v2 HTTP/1.1\r\nHost: x\r\n", b" 408 "),
     (b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{", b" 408 "),
     (b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n{", b" 408 "),
     (b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", b" 408 "),
     (b"POST /reads HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{", b" 408 ")],
)  # fmt: skip
async def test_a_head_and_a_body_have_their_time(sent, status):
    """A connection that says nothing is closed; a head or a body that does not come is 408, for every application."""
    async with served(limits=QUICK, fallback=application) as service, connected(service.port) as (reader, writer):
        writer.write(sent)
        answer = await reader.read()
        assert answer.partition(b"\r\n")[0][8:13] == status
        assert service.listener.http.timed_out == (1 if status else 0)


@pytest.mark.parametrize("path", [b"/v2/models/echo/infer", b"/reads"])
@pytest.mark.parametrize("fields", [b"", b"Expect: 100-continue\r\n"])
async def test_a_chunk_that_is_too_large_is_refused_by_its_size(path, fields):
    """64 GB that a chunk announces are 413 at once: nobody waits for bytes that would not be taken."""
    budget = MemoryBudget(512 << 20)
    async with (
        served(fallback=application, budget=budget) as service,
        connected(service.port) as (reader, writer),
        asyncio.timeout(10),
    ):
        head = b"POST %b HTTP/1.1\r\nHost: x\r\n%bTransfer-Encoding: chunked\r\n\r\n" % (path, fields)
        writer.write(head + b"1000000000\r\nab")
        line = await reader.readline()
        while b" 100 " in line or line == b"\r\n":
            line = await reader.readline()
        assert b" 413 " in line


@pytest.mark.parametrize("path", [b"/v2/models/echo/infer", b"/reads"])
async def test_a_body_that_drips_makes_no_progress(path):
    """A byte now and then does not keep a request alive."""
    async with served(limits=QUICK, fallback=application) as service, connected(service.port) as (reader, writer):
        writer.write(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" % path)

        async def drip():
            with contextlib.suppress(ConnectionError):
                for _ in range(1000):
                    writer.write(b" ")
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert b" 408 " in await reader.readline()
        dripping.cancel()


async def test_a_head_that_drips_is_408():
    """The time of a head counts from its first byte."""
    async with served(limits=QUICK) as service, connected(service.port) as (reader, writer):

        async def drip():
            with contextlib.suppress(ConnectionError):
                for byte in b"GET /v2/health/live HTTP/1.1\r\nHost: " + b"a" * 200:
                    writer.write(bytes([byte]))
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert b" 408 " in await reader.readline()
        dripping.cancel()


@pytest.mark.parametrize("request_", [infer(), b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["ours", "ASGI"])
async def test_a_reply_that_nobody_reads_is_cut_off(request_):
    """What waits to be read is bounded, the next requests of the connection wait, and then it is aborted."""
    async with served(limits=QUICK, fallback=application, kind=ImmediateInference) as service:
        service.inference.outputs = [_big()]
        with socket.create_connection(("127.0.0.1", service.port)) as silent:
            silent.sendall(request_ * 20)
            await until(lambda: service.listener.http.connections)
            connection = next(iter(service.listener.http.connections))
            await until(lambda: connection.transport.get_write_buffer_size() > 0)
            assert connection.transport.get_write_buffer_size() < 20 << 20
            await until(lambda: service.listener.http.budget.used > 100_000)
            await until(lambda: not service.listener.http.connections)
            assert service.listener.http.budget.used == 0
            assert len(service.inference.requests) < 20


def _big():
    import numpy as np

    from crossover.protocol.tensors import Tensor

    return Tensor.from_array("x", np.zeros(1 << 20, np.int32))


async def test_a_reply_that_is_read_slowly_is_sent_whole():
    """Whoever reads, however slowly, is not cut off."""
    async with served(limits=QUICK, fallback=application) as service:
        async with connected(service.port, 1 << 12) as (reader, writer):
            writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            left = 8 << 20
            while left:
                left -= len(await reader.readexactly(min(left, 1 << 20)))
                await asyncio.sleep(0.2)


# Amounts


async def test_pipelined_requests_are_not_read_ahead_without_end():
    """While a request is answered, little of what comes behind it is taken."""
    async with served() as service, connected(service.port) as (_, writer):
        writer.write(infer("hang"))
        await service.inference.started.wait()
        writer.transport.set_write_buffer_limits(1 << 30)
        writer.write(infer(id="x" * 15_000) * 3000)
        await asyncio.sleep(0.5)
        connection = next(iter(service.listener.http.connections))
        assert len(connection._ahead) <= LOOKAHEAD_BYTES + BUFFER_BYTES
        assert len(service.inference.requests) == 1


async def test_pipelined_requests_whose_replies_nobody_reads_are_not_read_ahead():
    """However many bodies have been read, what comes behind them is taken as far as replies leave."""
    async with served() as service, connected(service.port) as (_, writer):
        writer.transport.set_write_buffer_limits(1 << 30)
        writer.write(infer(id="x" * 15_000) * 3000)
        connection = None
        for _ in range(100):
            await asyncio.sleep(0.01)
            connection = next(iter(service.listener.http.connections))
            assert len(connection._ahead) <= LOOKAHEAD_BYTES + BUFFER_BYTES
        assert service.inference.requests


async def test_stalled_replies_make_room_when_memory_is_short():
    """Clients that read nothing are cut off at once, not after the time for writing; health needs no memory at all."""
    limits = Http1Limits(write_seconds=600)
    async with served(limits=limits, fallback=application, budget=MemoryBudget(8 << 20)) as service:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(8):
                _, writer = await stack.enter_async_context(connected(service.port, limit=1 << 10))
                writer.write(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: service.listener.http.budget.used > 8 << 20)
            async with connected(service.port) as (reader, writer):
                writer.write(ASK)
                assert b" 200 " in await reader.readline()
            await until(lambda: service.listener.http.budget.used < 8 << 20)
            async with connected(service.port) as (reader, writer):
                writer.write(infer())
                assert b" 200 " in await reader.readline()


async def test_connections_have_a_bound(caplog):
    """One too many is told 503 and closed; the log says so once, the metrics count, and the others go on."""
    limits = Http1Limits(max_connections=3)
    with caplog.at_level(logging.WARNING, "crossover.http1"):
        async with served(limits=limits) as service, contextlib.AsyncExitStack() as stack:
            open_ones = [await stack.enter_async_context(connected(service.port)) for _ in range(3)]
            await until(lambda: len(service.listener.http.connections) == 3)
            for _ in range(5):
                async with connected(service.port) as (reader, _):
                    assert b" 503 " in await reader.readline()
            for reader, writer in open_ones:
                writer.write(ASK)
                assert b" 200 " in await reader.readline()
            metrics = service.observer.render().decode()
            assert 'crossover_connections{wire="rest"} 3.0' in metrics
            assert 'crossover_connections_refused_total{wire="rest"} 5.0' in metrics
    assert len([record for record in caplog.records if "MAX_CONNECTIONS" in record.message]) == 1


def test_running_out_of_descriptors_harms_nobody_for_long():
    """While none is free nobody new is served, those that are connected are, and the port does not spin or stop."""
    uvloop.run(
        _without_descriptors()
    )  # the loop of the services; asyncio's own logs two thousand lines and goes on too


async def _without_descriptors() -> None:
    async with served() as service, connected(service.port) as (reader, writer):
        writer.write(ASK)
        assert b" 200 " in await reader.readuntil(b"}")
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = []
        clients = [socket.socket() for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(socket.socket())
            for client in clients:
                client.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    client.connect(("127.0.0.1", service.port))
            began = time.process_time()
            await asyncio.sleep(1)
            assert time.process_time() - began < 0.5
            writer.write(ASK)
            assert b" 200 " in await reader.readuntil(b"}")
        finally:
            for each in (*taken, *clients):
                each.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        async with connected(service.port) as (other, asking):
            asking.write(ASK)
            assert b" 200 " in await other.readuntil(b"}")


@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip"])
async def test_bodies_in_flight_share_a_budget(coding):
    """What does not fit beside others is 429 with Retry-After; what was held is given back."""
    import gzip

    budget = MemoryBudget(1 << 20)
    padded = json.dumps({"inputs": [X], "id": "x" * 700_000}).encode()
    body = gzip.compress(padded) if coding else padded
    head = b"POST /v2/models/%b/infer HTTP/1.1\r\nHost: x\r\n" + (coding + b"\r\n" if coding else b"")
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with (
        served(budget=budget) as service,
        connected(service.port) as (_, first),
        connected(service.port) as (reader, second),
    ):
        first.write(request % b"hang" if not coding else request.replace(b"%b", b"hang"))
        await service.inference.started.wait()
        assert budget.used >= 700_000
        second.write(request.replace(b"%b", b"echo"))
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 429 " in answer
        assert b"retry-after: 1" in answer
        assert b"MAX_IN_FLIGHT_BYTES" in await reader.readuntil(b"}")
        first.close()
        await service.inference.cancelled.wait()
        await until(lambda: budget.used == 0)


async def test_a_message_of_any_size_fits_alone():
    """The budget bounds what is in flight together, not the largest message."""
    async with served(budget=MemoryBudget(1000)) as service, connected(service.port) as (reader, writer):
        writer.write(infer(id="x" * 200_000))
        assert b" 200 " in await reader.readline()
        await until(lambda: service.listener.http.budget.used == 0)


async def test_a_reply_over_the_limit_is_413():
    """Told from its tensors, before anything is written."""
    async with served(RestOptions(max_message_bytes=1 << 20)) as service:
        service.inference.outputs = [_big()]
        async with connected(service.port) as (reader, writer):
            for beside in ({}, {"parameters": {"binary_data_output": True}}):
                writer.write(infer(**beside))
                assert b" 413 " in await reader.readline()
                assert b"1048576" in await reader.readuntil(b"}")


async def test_large_json_does_not_stop_the_others():
    """While megabytes of JSON are read and written, health answers at once."""
    async with served() as service:
        numbers = [1.5] * 2_000_000
        tensor = {"name": "x", "datatype": "FP32", "shape": [1_000_000, 2], "data": numbers}
        body = json.dumps({"inputs": [tensor]}).encode()
        async with connected(service.port, 1 << 24) as (reader, writer), connected(service.port) as (other, asking):
            writer.write(b"POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
            writer.write(body)
            done = asyncio.create_task(reader.readline())
            seen = []
            while not done.done():
                began = time.monotonic()
                asking.write(ASK)
                await other.readuntil(b"}")
                seen.append(time.monotonic() - began)
                await asyncio.sleep(0.005)
            assert b" 200 " in await done
            assert len(seen) > 3


# Clients that stop sending, or go


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize(
    "request_", [infer("slow"), ASK, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", infer() + infer("slow")]
)
async def test_a_client_that_only_stops_sending_is_answered(version, request_):
    """`nc -N` and tools of HTTP/1.0 close their sending side behind the request; however slow, the answer comes."""
    request_ = request_.replace(b"HTTP/1.1", b"HTTP/" + version)
    if version == b"1.0":
        request_ = request_.replace(b"Host: here", b"Host: here\r\nConnection: keep-alive")
    async with served(fallback=application, kind=_Slow) as service, connected(service.port) as (reader, writer):
        writer.write(request_)
        writer.write_eof()
        answer = await reader.read()
        assert answer.count(b" 200 OK\r\n") == request_.count(b" HTTP/1.")


class _Slow(FakeInference):
    async def infer(self, request, context):
        if request.model_name == "slow":
            await asyncio.sleep(1.5)
            request.model_name = "echo"
        return await super().infer(request, context)


async def test_a_client_that_has_gone_is_not_worked_for():
    """Closed altogether, or reset, its request ends, with those that came behind it."""
    for reset in (False, True):
        async with served() as service:
            with socket.create_connection(("127.0.0.1", service.port)) as leaving:
                leaving.sendall(infer("hang") + infer() * 5)
                await service.inference.started.wait()
                if reset:
                    leaving.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await asyncio.wait_for(service.inference.cancelled.wait(), 20)
            await until(lambda: not service.listener.http.connections)
            assert len(service.inference.requests) == 1


@pytest.mark.parametrize("fields", [b"", b"Content-Encoding: br\r\n"])
@pytest.mark.parametrize("path", [b"/v2/nowhere", b"/v2/health/live", b"/v2/models/echo/infer", b"/other"])
async def test_a_refusal_is_read_by_whoever_is_still_sending(path, fields):
    """404, 405, 413, 415 and what an application answers early reach a client that sends its whole body first."""
    size = 12 << 20
    request = b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (path, fields, size)
    async with served(RestOptions(max_message_bytes=1 << 20), fallback=application) as service:
        expected = {b"/v2/nowhere": 404, b"/v2/health/live": 405, b"/other": 200}.get(path, 415 if fields else 413)

        def ask() -> bytes:
            with socket.create_connection(("127.0.0.1", service.port), timeout=30) as client:
                client.sendall(request)
                for _ in range(size >> 20):
                    client.sendall(bytes(1 << 20))
                return client.recv(4096)

        for _ in range(3):
            assert int((await asyncio.to_thread(ask))[9:12]) == expected


# The gate, and stopping


async def test_the_gate_sees_every_head_before_its_body():
    """It may refuse, and add fields to whatever reply follows; what it refuses reaches no handler."""
    seen = []

    def gate(exchange):
        head = exchange.head
        seen.append((head.method, head.path, head.by_name.get("x-key"), exchange.scheme, exchange.peer[0]))
        exchange.added.append((b"x-added", b"by the gate"))
        return None if head.by_name.get("x-key") else Reply(401, [(b"www-authenticate", b"Bearer")], [b"no"])

    async with served(fallback=application) as service, connected(service.port) as (reader, writer):
        service.listener.http.gate = gate
        for request, status in ((infer(), 401), (infer("echo", b"X-Key: k"), 200),
                                (b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n", 401),
                                (b"GET /other HTTP/1.1\r\nHost: x\r\nX-Key: k\r\n\r\n", 200)):  # fmt: skip
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]))
            assert (int(head[9:12]), head.count(b"x-added: by the gate")) == (status, 1)
        assert [(method, key, scheme, peer) for method, _, key, scheme, peer in seen] == [
            ("POST", None, "http", "127.0.0.1"), ("POST", "k", "http", "127.0.0.1"),
            ("GET", None, "http", "127.0.0.1"), ("GET", "k", "http", "127.0.0.1"),
        ]  # fmt: skip
        assert len(service.inference.requests) == 1


async def test_draining_answers_and_lets_go():
    """While it drains a port accepts and answers, says `Connection: close`, and gives up connections that are idle."""
    async with served() as service:
        async with connected(service.port) as (idle, asking), connected(service.port) as (reader, writer):
            asking.write(ASK)
            await idle.readuntil(b"}")
            service.listener.drain()
            writer.write(ASK)
            answer = await reader.read()
            assert b" 200 " in answer
            assert b"connection: close" in answer
            assert await idle.read() == b""
        async with connected(service.port) as (reader, writer):
            writer.write(infer())
            assert b"connection: close" in await reader.read()


async def test_the_last_file_descriptors_are_not_for_connections(caplog):
    """A process that runs out of descriptors refuses connections aloud, and keeps some for everything else that it opens."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with served(fallback=application) as service:
        async with connected(service.port) as (reader, writer):
            writer.write(ASK)
            assert b" 200 " in await reader.readuntil(b"}")
            descriptor = writer.get_extra_info("socket").fileno()
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor + 6, hard))
                async with connected(service.port) as (refused, _):
                    reply = await refused.read()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            writer.write(ASK)
            assert b" 200 " in await reader.readuntil(b"}")
    assert reply.startswith(b"HTTP/1.1 503")
    assert "limit on open files" in caplog.text
