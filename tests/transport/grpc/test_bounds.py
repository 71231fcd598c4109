"""What one client does to a lean port stays with that client: large headers, replies nobody reads, idle connections, proxies."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess

import numpy as np
import pytest
from grpc import aio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.deadline import NEVER
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.transport.grpc import server as lean
from crossover.transport.grpc.status import CallFailedError
from crossover.transport.http2 import frames as http2
from tests import grpc_service
from tests.fakes import RecordingInference, SlowInference
from tests.grpc_service import LIMIT, listening, request
from tests.transport.grpc.http2_client import connected, framed
from tests.transport.grpc.http2_server import OK as OK_TRAILERS
from tests.transport.grpc.http2_server import echo, message, serving
from tests.transport.http2 import cases

OK, INVALID, EXHAUSTED, UNIMPLEMENTED = 0, 3, 8, 12
INFER = protobuf_codec.encode_request(request())
LARGE = protobuf_codec.encode_request(InferRequest("echo", [Tensor.from_array("x", np.zeros(300_000, np.uint8))]))


@pytest.fixture(autouse=True)
def library(monkeypatch):
    """These rules are the lean port's own."""
    monkeypatch.setattr(grpc_service, "LIBRARY", "lean")


async def test_a_header_list_that_is_too_large_costs_its_call_alone():
    """RESOURCE_EXHAUSTED for that stream; four calls under way are answered, and so is the next (RFC 9113, 10.5.1)."""
    slow = SlowInference()
    async with listening(slow) as target, connected(target) as client:
        streams = [client.begin("ModelInfer") for _ in range(4)]
        for stream in streams:
            client.send(stream, framed(INFER))
            await slow.started.acquire()
        refused = await client.call("ServerLive", tracestate="x" * 70_000)
        assert (refused.status, "limit is 65536" in refused.text) == (EXHAUSTED, True)
        slow.release.set()
        assert [(await client.answer(stream)).status for stream in streams] == [OK] * 4
        assert (await client.call("ServerLive")).status == OK


async def test_trailers_that_are_too_large_cost_their_call_alone():
    """At the lean client too: its other calls on the connection go on."""

    def answer(peer, stream, body, headers):
        if body == message(b"bad"):
            peer.reply(stream, body, [*OK_TRAILERS, ("note", "x" * 70_000)])
        else:
            asyncio.get_running_loop().call_later(0.1, echo, peer, stream, body, headers)

    async with serving(answer) as (method, peers):
        other = asyncio.create_task(method.call(b"good", NEVER, ()))
        with pytest.raises(CallFailedError) as failed:
            await method.call(b"bad", NEVER, ())
        assert failed.value.status.code == EXHAUSTED
        assert bytes((await other)[0]) == b"good"
        assert len(peers) == 1


@pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT, 5 * LIMIT])
async def test_the_rest_of_a_refused_message_is_read(size):
    """Its sender can end it, and is told RESOURCE_EXHAUSTED with the setting's name, not a reset."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        stream = client.begin("ModelInfer")
        data = framed(bytes(size))
        at = 0
        while at < len(data):
            room = min(client.h2.local_flow_control_window(stream), client.h2.max_outbound_frame_size, len(data) - at)
            if room > 0:
                client.send(stream, data[at : at + room], ends=at + room == len(data))
                at += room
            await asyncio.sleep(0)
            if client.answers[stream].reset is not None:
                break
        answer = await client.answer(stream)
        await client.settle()
        assert answer.status == EXHAUSTED
        assert "MAX_MESSAGE_BYTES" in answer.text
        assert answer.reset in (None, ErrorCodes.NO_ERROR)
        assert (answer.reset is None) == (size < 5 * LIMIT)


async def test_a_refused_call_that_never_ends(monkeypatch):
    """Its rest is read for a while, then it is reset with NO_ERROR (RFC 9113, 8.1)."""
    monkeypatch.setattr(lean, "LINGER_SECONDS", 0.1)
    async with listening(RecordingInference()) as target, connected(target) as client:
        stream = client.begin("Nonsense")
        answer = await client.answer(stream)
        assert answer.status == UNIMPLEMENTED
        while answer.reset is None:
            await asyncio.sleep(0.01)
        assert answer.reset == ErrorCodes.NO_ERROR


@pytest.mark.parametrize("method", ["ModelInfer", "ServerLive"])
async def test_a_unary_call_that_never_ends(method):
    """The server's own deadline ends it, though the client named none (DEFAULT_TIMEOUT_MS)."""
    async with listening(RecordingInference(), default_timeout_ms=100) as target, connected(target) as client:
        answer = await client.answer(client.begin(method))
        assert (answer.status, answer.text) == (4, "Deadline Exceeded")


async def test_a_reply_whose_window_stays_shut(monkeypatch):
    """The call is reset after a while; its neighbours on the connection are answered meanwhile and afterwards."""
    monkeypatch.setattr(lean, "WRITE_SECONDS", 0.2)
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 1000}
    async with listening(RecordingInference()) as target, connected(target, settings) as client:
        client.credit = False
        await client.settle()
        stream = client.begin("ModelInfer")
        for at in range(0, len(LARGE) + 5, 16_384):
            client.send(stream, framed(LARGE)[at : at + 16_384], ends=at + 16_384 >= len(LARGE) + 5)
        assert (await client.call("ServerLive")).status == OK
        assert (await client.answer(stream)).reset == ErrorCodes.CANCEL
        assert (await client.call("ServerLive")).status == OK


async def test_a_client_that_reads_nothing(monkeypatch):
    """Its connection is aborted after a while, with all that waits for it."""
    monkeypatch.setattr(lean, "WRITE_SECONDS", 0.3)
    large = protobuf_codec.encode_request(InferRequest("echo", [Tensor.from_array("x", np.zeros(900_000, np.uint8))]))
    async with listening(RecordingInference()) as target:
        async with connected(target, {SettingCodes.INITIAL_WINDOW_SIZE: (1 << 31) - 1}) as client:
            client.h2.increment_flow_control_window(1 << 30)
            await client.settle()
            client._reading.cancel()
            client.writer.transport.pause_reading()
            with contextlib.suppress(ConnectionError):
                for _ in range(20):
                    stream = client.begin("ModelInfer")
                    for at in range(0, len(large) + 5, 16_384):
                        client.send(stream, framed(large)[at : at + 16_384], ends=at + 16_384 >= len(large) + 5)
                async with asyncio.timeout(20):
                    while not client.writer.transport.is_closing():
                        await asyncio.sleep(0.05)
                        client.writer.write(b"\0\0\x08\x06\0\0\0\0\0pingping")
            assert client.writer.transport.is_closing()
        async with connected(target) as other:
            assert (await other.call("ServerLive")).status == OK


async def test_idle_connections(monkeypatch):
    """A connection without calls is told to go, in two steps so that a call on its way is still answered (RFC 9113, 6.8)."""
    monkeypatch.setattr(lean, "IDLE_SECONDS", 0.1)
    async with listening(RecordingInference()) as target:
        reader, writer = await asyncio.open_connection(*target.grpc.split(":"))
        writer.write(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0) + cases.call(1))
        data, late = b"", False
        while piece := await reader.read(65536):
            data += piece
            if not late and b"draining" in data:
                late = True
                writer.write(cases.call(3) + http2.frame(http2.PING, http2.ACK, 0, b"draining") + cases.call(5))
        writer.close()
    frames = list(http2.FrameReader().feed(data))
    announced, last = [http2.number_in(payload) for kind, _, _, payload, _ in frames if kind == http2.GOAWAY]
    ended = {number for kind, flags, number, _, _ in frames if kind == http2.HEADERS and flags & http2.END_STREAM}
    assert announced == http2.LAST_STREAM
    assert ended == set(range(1, last + 1, 2)) >= {1, 3}


async def test_goaway_after_calls_names_the_last_of_them():
    """After a connection error, so that nobody sends again what has run."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        for _ in range(3):
            assert (await client.call("ModelInfer", INFER)).status == OK
        client.writer.write(b"\0\0\x07\x06\0\0\0\0\0" + bytes(7))
        await client.closed.wait()
        assert (client.goaway.error_code, client.goaway.last_stream_id) == (ErrorCodes.FRAME_SIZE_ERROR, 5)


async def test_data_after_the_end_runs_nothing_again():
    """One call, one run, whatever follows its END_STREAM; and the neighbours are served."""
    fake = RecordingInference()
    async with (
        listening(fake) as target,
        connected(target, {SettingCodes.INITIAL_WINDOW_SIZE: 0}) as client,
    ):
        stream = client.begin("ModelInfer")
        client.send(stream, framed(INFER))
        await client.settle()
        data = framed(INFER)
        for _ in range(5):
            client.writer.write(len(data).to_bytes(3, "big") + b"\0\x01" + stream.to_bytes(4, "big") + data)
        assert (await client.answer(stream)).reset == ErrorCodes.STREAM_CLOSED
        await client.settle()
        assert len(fake.requests) == 1


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
async def test_haproxy_passes_refusals_on(tmp_path):
    """Before a lean port, a message over the limit is RESOURCE_EXHAUSTED and an unknown method UNIMPLEMENTED, as without it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with listening(RecordingInference()) as target:
        config = tmp_path / "haproxy.cfg"
        config.write_text(
            "defaults\n  mode http\n  timeout client 30s\n  timeout server 30s\n  timeout connect 5s\n"
            f"frontend f\n  bind 127.0.0.1:{port} proto h2\n  default_backend b\n"
            f"backend b\n  server s {target.grpc} proto h2\n"
        )
        proxy = subprocess.Popen(["haproxy", "-f", str(config), "-db"], stderr=subprocess.DEVNULL)
        channel = aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)])
        try:
            await asyncio.wait_for(channel.channel_ready(), 20)
            for name, size, code in (
                ("ModelInfer", LIMIT + 9, EXHAUSTED), ("ModelInfer", 8 * LIMIT, EXHAUSTED),
                ("Nonsense", 2 * LIMIT, UNIMPLEMENTED), ("Nonsense", 0, UNIMPLEMENTED),
            ):  # fmt: skip
                with pytest.raises(aio.AioRpcError) as failed:
                    await channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(bytes(size), timeout=30)
                assert failed.value.code().value[0] == code, (name, size, failed.value)
            assert await channel.unary_unary("/inference.GRPCInferenceService/ServerLive")(b"", timeout=30)
        finally:
            await channel.close()
            proxy.terminate()
            proxy.wait()


async def test_nothing_is_sent_again_that_may_have_been_looked_at():
    """A connection that is lost after the request was written is UNAVAILABLE; the server sees each request once."""
    seen = []

    def answer(peer, stream, body, headers):
        seen.append(body)
        if len(seen) == 1:
            peer.transport.abort()
        else:
            echo(peer, stream, body, headers)

    async with serving(answer) as (method, _):
        with pytest.raises(CallFailedError) as failed:
            await method.call(b"once", NEVER, ())
        assert failed.value.status.code == 14
        assert seen == [message(b"once")]
        assert bytes((await method.call(b"next", NEVER, ()))[0]) == b"next"
