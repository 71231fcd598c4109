"""Large bodies pass the parser by: whatever way they come in, the application sees the same bytes."""

from __future__ import annotations

import asyncio
import json
import socket

import numpy as np
import pytest

from crossover.endpoints.rest import OipRest, RestListener, RestOptions
from crossover.transport.http1.receive_buffer import SMALLEST, LargeBody
from tests.endpoints.rest.service import served
from tests.grpc_service import make_certificate

PATH = "/v2/models/echo/infer"


def binary(rows: int) -> tuple[bytes, bytes]:
    """The head and the body of a request with `rows` rows of two random floats, answered in kind."""
    raw = np.random.default_rng(rows).standard_normal((rows, 2)).astype(np.float32).tobytes()
    described = {"name": "x", "datatype": "FP32", "shape": [rows, 2], "parameters": {"binary_data_size": len(raw)}}
    document = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\ninference-header-content-length: {len(document)}\r\n"
        f"content-length: {len(document) + len(raw)}\r\n"
    )
    return head.encode(), document + raw


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Status and body of the next answer."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
    return int(head[9:12]), await asyncio.wait_for(reader.readexactly(length), 20)


def tensor_of(body: bytes, sent: bytes) -> bool:
    """Whether the answer ends in the tensor that was sent; its head says how many bytes that has."""
    size = json.loads(body[: body.index(b"}]}") + 3])["outputs"][0]["parameters"]["binary_data_size"]
    return size > 0 and body[-size:] == sent[-size:]


@pytest.mark.parametrize("rows", [SMALLEST // 8 - 40, SMALLEST // 8, 100_000])
@pytest.mark.parametrize("piece", [1 << 20, 70_000, 10_000])
async def test_a_body_in_pieces_is_whole(rows, piece):
    """Bit for bit, below and above the size from which it is received on its own, again and again on one connection."""
    head, body = binary(rows)
    async with served() as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        for _ in range(3):
            sent = head + b"\r\n" + body
            for at in range(0, len(sent), piece):
                writer.write(sent[at : at + piece])
                await writer.drain()
                await asyncio.sleep(0)
            status, found = await answer(reader)
            assert status == 200
            assert tensor_of(found, body)
        writer.close()


@pytest.mark.parametrize("boundary", range(0, 130, 13))
def test_numbers_behind_the_head_are_aligned(boundary):
    """Wherever the head ends, the first number of the tensor is where arrays of any type may begin."""
    body = LargeBody(1000, b"first", boundary)
    assert np.frombuffer(body.memory[boundary : boundary + 64], np.float64).flags.aligned
    assert (len(body.memory), bytes(body.memory[:5]), body.filled) == (1000, b"first", 5)


@pytest.mark.parametrize("behind", [False, True])
async def test_other_applications_get_bytes(behind):
    """An application that is not ours, alone or behind our routes, gets a large body as ASGI has it."""
    kinds = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            return
        message = await receive()
        kinds.append((type(message["body"]), len(message["body"]), message["more_body"]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    listener = RestListener(
        OipRest(lambda _: (None, None), settings=RestOptions(), fallback=app) if behind else app, "127.0.0.1", 0
    )
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"POST /other HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n" + bytes(300_000))
    assert (await answer(reader))[0] == 200
    writer.close()
    await listener.stop(0.3)
    assert kinds == [(bytes, 300_000, False)]


async def test_what_comes_behind_a_large_body_is_the_next_request():
    """Requests that leave together, large and small, are answered in their order."""
    large, small = binary(50_000), binary(3)
    async with served() as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        for head, body in (large, small, large, large, small):
            writer.write(head + b"\r\n" + body)
        for _, body in (large, small, large, large, small):
            status, found = await answer(reader)
            assert status == 200
            assert tensor_of(found, body)
        writer.close()


async def test_a_large_body_waits_for_100_continue():
    """The head alone is answered with 100, and the body is read then."""
    head, body = binary(50_000)
    async with served() as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(head + b"expect: 100-continue\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 100 ")
        writer.write(body)
        status, found = await answer(reader)
        assert status == 200
        assert tensor_of(found, body)
        writer.close()


async def test_large_bodies_over_tls(tmp_path):
    """The same through TLS, whose records have sizes of their own."""
    import ssl

    tls = make_certificate(tmp_path)
    head, body = binary(100_000)
    async with served(tls=tls) as service:
        context = ssl.create_default_context(cafile=str(tls.cert))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", service.port, ssl=context, server_hostname="localhost"
        )
        for _ in range(2):
            writer.write(head + b"\r\n" + body)
            status, found = await answer(reader)
            assert status == 200
            assert tensor_of(found, body)
        writer.close()


async def test_a_body_that_is_refused_does_not_spoil_the_connection():
    """413 comes before the body has; what is sent nevertheless is not taken for the next request."""
    head, body = binary(50_000)
    small_head, small_body = binary(3)
    async with served(RestOptions(max_message_bytes=100_000)) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(head + b"\r\n" + body[:1000])
        status, _ = await answer(reader)
        assert status == 413
        try:
            writer.write(body[1000:] + small_head + b"\r\n" + small_body)
            status, found = await answer(reader)
            assert status == 200
            assert tensor_of(found, small_body)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # closing the connection is as good
        writer.close()


async def test_a_caller_that_leaves_in_the_middle_is_gone():
    """Nothing is run for half a body, and the next caller is served."""
    head, body = binary(50_000)
    async with served() as service:
        with socket.create_connection(("127.0.0.1", service.port)) as leaving:
            leaving.sendall(head + b"\r\n" + body[: len(body) // 2])
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(head + b"\r\n" + body)
        status, found = await answer(reader)
        assert status == 200
        assert tensor_of(found, body)
        assert len(service.inference.requests) == 1
        writer.close()
