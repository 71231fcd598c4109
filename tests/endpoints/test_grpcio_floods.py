"""One raw connection that floods grpcio's port fails no call of another connection and holds none up for long."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hpack import Encoder

from crossover.clients import grpc_unary
from crossover.protocol import deadline
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.inference import CallContext
from crossover.protocol.wires import Target
from crossover.transport.http2 import frames as http2
from tests.grpc_service import request
from tests.transport.grpc.http2_client import framed

SERVER = """
import asyncio
from crossover.endpoints.grpc.serve import GrpcListener
from crossover.protocol.messages import InferResponse
from tests.fakes import RecordingInference

class Brief(RecordingInference):
    async def infer(self, request, context):
        await asyncio.sleep(0.02)
        return InferResponse("echo", "1", request.inputs, request.id)

async def main():
    listener = GrpcListener(Brief(), "127.0.0.1", 0)
    await listener.start()
    print(listener.port, flush=True)
    await asyncio.sleep(90)

asyncio.run(main())
"""
SECONDS = 3.0
LONGEST_SECONDS = 5.0
"""What another caller may wait, on a busy machine too; without the bounds it is 17 s, or the call is CANCELLED."""
_ENCODER = Encoder()
_ENCODER.header_table_size = 0  # every block can be sent again
HEADERS = _ENCODER.encode([
    (":method", "POST"), (":scheme", "http"), (":path", "/inference.GRPCInferenceService/ModelInfer"),
    (":authority", "x"), ("te", "trailers"), ("content-type", "application/grpc"),
], huffman=False)  # fmt: skip
_END_HEADERS, _END_STREAM, _DATA, _HEADERS, _PING = 4, 1, 0, 1, 6


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """Process id and port."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()


def begun(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
    return connection


def resets(port: int) -> None:
    """HEADERS, DATA, RST_STREAM as fast as they are taken."""
    message = framed(protobuf_codec.encode_request(request()))
    until, number = time.monotonic() + SECONDS, 1
    with begun(port) as connection:
        while time.monotonic() < until and number < 1 << 22:
            numbers = range(number, number + 200, 2)
            number += 200
            connection.sendall(b"".join(
                http2.frame(_HEADERS, _END_HEADERS, one, HEADERS) + http2.frame(_DATA, _END_STREAM, one, message)
                + http2.frame(http2.RST_STREAM, 0, one, http2.number(http2.CANCEL)) for one in numbers
            ))  # fmt: skip


def pings(port: int, pid: int) -> None:
    """As many PING frames as the kernel holds, which the server then reads at once; nobody reads their acks."""
    with begun(port) as connection:
        time.sleep(0.3)
        os.kill(pid, signal.SIGSTOP)
        try:
            connection.setblocking(False)
            block = http2.frame(_PING, 0, 0, b"12345678") * 1000
            for _ in range(400):
                connection.send(block)
        except BlockingIOError:
            pass
        finally:
            os.kill(pid, signal.SIGCONT)
        time.sleep(SECONDS)


@pytest.mark.parametrize("flood", ["resets", "pings"])
async def test_a_flood_is_its_connection_s_own(server, flood):
    """Callers of another connection are answered during the flood and after it."""
    pid, port = server
    client = grpc_unary.connect(Target(grpc=f"127.0.0.1:{port}"))
    await client.infer(request("warm"), CallContext(deadline.after(30)))
    attack = threading.Thread(target=resets if flood == "resets" else pings, args=(port, pid)[: 1 + (flood == "pings")])
    attack.start()
    longest, answered = 0.0, 0
    until = time.monotonic() + SECONDS + 1
    while time.monotonic() < until:
        start = time.monotonic()
        await asyncio.gather(*(client.infer(request("a"), CallContext(deadline.after(30))) for _ in range(4)))
        longest, answered = max(longest, time.monotonic() - start), answered + 4
    await asyncio.to_thread(attack.join)
    await client.close()
    assert longest < LONGEST_SECONDS
    assert answered >= 8
