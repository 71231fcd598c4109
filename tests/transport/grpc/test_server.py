"""The lean gRPC port against a client by `h2`: what RFC 9113 and gRPC's own rules allow works, and what they do not is bounded."""

from __future__ import annotations

import asyncio
import functools
import gzip
import zlib

import numpy as np
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from crossover.endpoints.grpc import lean as lean_endpoint
from crossover.endpoints.grpc.lean import service_of
from crossover.endpoints.grpc.listener import Handlers
from crossover.endpoints.grpc.servicer import GrpcOptions, Servicer
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protos import inference as pb
from crossover.transport.grpc import server as lean
from crossover.transport.http2 import frames as http2
from crossover.transport.http2 import socket as http2_socket
from crossover.transport.http2.limits import Limits
from tests import grpc_service
from tests.fakes import ImmediateInference, RecordingInference, SlowInference
from tests.grpc_service import LIMIT, listening, request
from tests.transport.grpc.http2_client import connected, framed

OK, DEADLINE, NOT_FOUND, EXHAUSTED, UNIMPLEMENTED, INTERNAL = 0, 4, 5, 8, 12, 13
INFER = protobuf_codec.encode_request(request())


@pytest.fixture(params=["lean"], autouse=True)
def library(request, monkeypatch):
    """These rules are the lean port's own."""
    monkeypatch.setattr(grpc_service, "LIBRARY", request.param)


def limit(monkeypatch, **limits: int) -> None:
    """Bounds of the connections that are accepted from here on."""
    monkeypatch.setattr(lean_endpoint, "Service", functools.partial(lean.Service, limits=Limits(**limits)))


def large(size: int) -> bytes:
    return protobuf_codec.encode_request(InferRequest("echo", [Tensor.from_array("x", np.zeros(size, np.uint8))]))


async def test_calls_work():
    """Many at once on one connection, each with its own answer."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        answers = await asyncio.gather(*(client.call("ModelInfer", INFER) for _ in range(50)))
        assert {answer.status for answer in answers} == {OK}
        assert {pb.ModelInferResponse.FromString(answer.message).model_name for answer in answers} == {"echo"}
        assert answers[0].headers[0]["grpc-accept-encoding"] == "identity,deflate,gzip"


async def test_what_is_there_at_once_needs_no_task():
    """An answer, or an error, that nobody waits for is given where the request came."""
    inference = ImmediateInference()
    async with listening(inference) as target, connected(target) as client:
        right = await client.call("ModelInfer", INFER)
        wrong = await client.call("ModelInfer", protobuf_codec.encode_request(request(model="nope")))
        assert (right.status, wrong.status, inference.tasks) == (OK, NOT_FOUND, [None, None])


async def test_http1_is_told_where_it_is():
    """A browser or curl at the gRPC port reads one sentence."""
    async with listening(RecordingInference()) as target:
        reader, writer = await asyncio.open_connection(*target.grpc.split(":"))
        writer.write(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        reply = await reader.read()
        assert reply.startswith(b"HTTP/1.1 400 ")
        assert reply.endswith(b"\r\n\r\nthis port speaks gRPC over HTTP/2; REST is on another port\n")
        writer.close()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"content_type": "application/json"}, "415"),
        ({"content_type": "application/grpc-web"}, "415"),
        ({"content_type": "application/grpc-web+proto"}, "415"),
        ({"content_type": "application/grpcfoo"}, "415"),
        ({"content_type": ""}, "415"),
        ({"pseudo_method": "GET"}, "405"),
        ({"pseudo_method": "PUT", "content_type": "text/plain"}, "405"),
    ],
)
@pytest.mark.parametrize("ends", [True, False])
async def test_requests_that_are_not_grpc(fields, status, ends):
    """Another content type or method is refused with an HTTP status, whether the request has content or not."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        answer = await client.answer(client.begin(ends=ends, **fields))
        assert answer.fields[":status"] == status
        assert status == "415" or answer.fields["allow"] == "POST"
        assert (await client.call("ServerLive")).status == OK


@pytest.mark.parametrize(
    "content_type", ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"]
)
async def test_content_types_of_grpc(content_type):
    """gRPC's content type may name protobuf, and have parameters."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        assert (await client.call("ServerLive", content_type=content_type)).status == OK


@pytest.mark.parametrize("timeout", ["1.5S", "S", "5", "-1m", "123456789m", "1x"])
async def test_timeouts_that_are_none(timeout):
    """A grpc-timeout that cannot be read is INVALID_ARGUMENT: not a call without the deadline that was meant."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        answer = await client.call("ServerLive", grpc_timeout=timeout)
        assert (answer.status, timeout in answer.text) == (3, True)


@pytest.mark.parametrize("encoding", ["snappy", "zstd", ""])
async def test_unknown_encodings(encoding):
    """A message compressed in a way that is not read here is UNIMPLEMENTED, and the reply says what is read."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        stream = client.begin("ModelInfer", grpc_encoding=encoding)
        client.send(stream, framed(INFER, 1))
        answer = await client.answer(stream)
        assert answer.status == UNIMPLEMENTED
        assert answer.fields["grpc-accept-encoding"] == "identity,deflate,gzip"


async def test_a_method_that_is_not_there():
    """UNIMPLEMENTED, before the message has come, and the rest of the message does no harm."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        stream = client.begin("Nonsense")
        answer = await client.answer(stream)
        assert (answer.status, answer.text) == (
            UNIMPLEMENTED,
            "there is no method /inference.GRPCInferenceService/Nonsense here",
        )
        assert (await client.call("ServerLive")).status == OK


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"", "no message"),
        (framed(b"")[:3], "cut"),
        (framed(INFER)[:-1], "cut"),
        (framed(INFER) * 2, "one message"),
        (framed(INFER, 1), "compressed"),
    ],
)
async def test_messages_that_are_none(sent, says):
    """No message, a piece of one, two, or one compressed in a way that was not named: INTERNAL, and the next call works."""
    fake = RecordingInference()
    async with listening(fake) as target, connected(target) as client:
        stream = client.begin("ModelInfer")
        client.send(stream, sent)
        answer = await client.answer(stream)
        assert answer.status == INTERNAL
        assert says in answer.text
        assert fake.requests == []
        assert (await client.call("ModelInfer", INFER)).status == OK


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_messages(encoding, compress):
    """gzip and deflate are read; broken ones are INTERNAL, and ones that grow over the limit RESOURCE_EXHAUSTED."""
    async with listening(RecordingInference()) as target, connected(target) as client:

        async def asked(data: bytes):
            stream = client.begin("ModelInfer", grpc_encoding=encoding)
            client.send(stream, framed(data, 1))
            return await client.answer(stream)

        answer = await asked(compress(INFER))
        assert pb.ModelInferResponse.FromString(answer.message).model_name == "echo"
        assert (await asked(b"not compressed")).status == INTERNAL
        assert (await asked(compress(INFER)[:-4])).status == INTERNAL
        bomb = await asked(compress(bytes(3 * LIMIT)))
        assert bomb.status == EXHAUSTED
        assert "MAX_MESSAGE_BYTES" in bomb.text


async def test_a_large_message_gets_credit_at_once():
    """A message that is larger than a stream's window is granted as soon as its length is known; both ways it arrives whole."""
    async with listening(RecordingInference(), max_message_bytes=4 << 20) as target, connected(target) as client:
        data = framed(large(3 << 20))
        await client.settle()
        stream = client.begin("ModelInfer")
        at = 0
        while at < len(data):
            room = min(
                client.h2.local_flow_control_window(stream), client.h2.max_outbound_frame_size, 1 << 16, len(data) - at
            )
            if room:
                client.send(stream, data[at : at + room], ends=at + room == len(data))
                at += room
            await asyncio.sleep(0)
        reply = (await client.answer(stream)).message
        assert len(pb.ModelInferResponse.FromString(reply).raw_output_contents[0]) == 3 << 20
        assert client.grown[stream] == len(data) - lean.WINDOW


async def test_data_beyond_the_window(monkeypatch):
    """A client that sends more than it may loses the stream, not the server its memory."""
    monkeypatch.setattr(lean, "WINDOW", 100)
    async with listening(RecordingInference()) as target, connected(target) as client:
        await client.settle()
        stream = client.begin("ModelInfer")
        client.h2._get_stream_by_id(stream).outbound_flow_control_window = 1 << 20
        client.send(stream, framed(large(1000)), ends=False)
        assert (await client.answer(stream)).reset == ErrorCodes.FLOW_CONTROL_ERROR
        assert (await client.call("ServerLive")).status == OK


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written, self.closing = b"", False

    def write(self, data: bytes) -> None:
        self.written += data

    def writelines(self, parts: list) -> None:
        self.written += b"".join(parts)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close

    def set_write_buffer_limits(self, *_: int) -> None:
        pass

    pause_reading = resume_reading = set_write_buffer_limits

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _: str) -> None:
        return None


FRAMES = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=40))
    | st.tuples(st.just(http2.HEADERS), st.sampled_from([4, 5]), st.integers(0, 9), st.sampled_from([
        Encoder().encode([(":method", "POST"), (":scheme", "http"), (":path", f"/inference.GRPCInferenceService/{method}"),
                          ("content-type", "application/grpc"), ("grpc-timeout", "9m")], huffman=False)
        for method in ("ModelInfer", "ModelStreamInfer", "Nonsense")]))
    | st.tuples(st.just(http2.DATA), st.sampled_from([0, 1, 8, 9]), st.integers(1, 9),
                st.sampled_from([framed(INFER), framed(INFER)[:7], framed(b""), b"\0\0\0\0", b"\xff" * 9])),
    max_size=20,
)  # fmt: skip


@given(FRAMES, st.integers(1, 50))
async def test_whatever_comes(frames, size):
    """No sequence of frames, well formed or not, cut wherever it may be, raises: it is answered or ends the connection."""
    handlers = Handlers([Servicer(RecordingInference(), GrpcOptions(), None).handlers()])
    service = service_of(handlers, GrpcOptions(LIMIT))
    wire, connection = Wire(), lean.ServerConnection(asyncio.get_running_loop(), service)
    connection.socket.connection_made(wire)
    data = http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0)
    data += b"".join(http2.frame(kind, flags, number, payload) for kind, flags, number, payload in frames)
    for at in range(0, len(data), size):
        if not wire.closing:
            connection.socket.data_received(data[at : at + size])
    await asyncio.sleep(0)
    connection.socket.connection_lost(None)
    assert connection._connection.streams == {}
    assert service.connections == set()


async def test_small_windows_of_the_client():
    """A reply waits for the client's credit, and other calls do not wait for it."""
    async with (
        listening(RecordingInference()) as target,
        connected(target, {SettingCodes.INITIAL_WINDOW_SIZE: 100}) as client,
    ):
        client.credit = False
        stream = client.begin("ModelInfer")
        client.send(stream, framed(large(1000)))
        assert (await client.call("ServerLive")).status == OK
        await client.settle()
        assert len(client.answers[stream].data) == 100
        client.h2.increment_flow_control_window(2000, stream)
        client.flush()
        answer = await client.answer(stream)
        assert answer.status == OK
        assert pb.ModelInferResponse.FromString(answer.message).raw_output_contents[0] == bytes(1000)


async def test_padding_is_given_back():
    """What padding takes of the window comes back at once."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        stream = client.begin("ModelInfer")
        client.send(stream, framed(INFER)[:9], ends=False, padding=200)
        await client.settle()
        assert client.grown[stream] == 201
        client.send(stream, framed(INFER)[9:], padding=7)
        assert (await client.answer(stream)).status == OK


async def test_long_headers():
    """Header fields that need CONTINUATION frames are read whole."""
    fake = RecordingInference()
    async with listening(fake) as target, connected(target) as client:
        answer = await client.call("ModelInfer", INFER, traceparent="x" * 20_000)
        assert answer.status == OK
        assert fake.contexts[0].headers["traceparent"] == "x" * 20_000


async def test_cancelling():
    """RST_STREAM stops the work; what is late does no harm."""
    slow = SlowInference()
    async with listening(slow) as target, connected(target) as client:
        stream = client.begin("ModelInfer")
        client.send(stream, framed(INFER))
        await slow.started.acquire()
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
        await slow.cancelled.acquire()
        assert (await client.call("ServerLive")).status == OK


async def test_a_connection_that_is_lost_cancels():
    """Nobody works for a client that has gone."""
    slow = SlowInference()
    async with listening(slow) as target:
        async with connected(target) as client:
            client.send(client.begin("ModelInfer"), framed(INFER))
            await slow.started.acquire()
        await slow.cancelled.acquire()


async def test_calls_taken_back_too_often(monkeypatch):
    """A client that begins and cancels calls without end is sent away (CVE-2023-44487)."""
    limit(monkeypatch, resets=5, resets_per_second=0)
    async with listening(SlowInference()) as target, connected(target) as client:
        for _ in range(7):
            stream = client.begin("ModelInfer")
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
        await client.closed.wait()
        assert client.goaway.error_code == ErrorCodes.ENHANCE_YOUR_CALM


async def test_too_many_at_once(monkeypatch):
    """Beyond the limit that was told, streams are refused, which means that they may be tried again."""
    limit(monkeypatch, streams=2)
    slow = SlowInference()
    async with listening(slow) as target, connected(target) as client:
        for _ in range(2):
            client.send(client.begin("ModelInfer"), framed(INFER))
            await slow.started.acquire()
        client.h2.remote_settings.max_concurrent_streams = 99
        client.h2.remote_settings.acknowledge()
        third = client.begin("ModelInfer")
        assert (await client.answer(third)).reset == ErrorCodes.REFUSED_STREAM


async def test_silence(monkeypatch):
    """A connection that never begins to speak is closed."""
    monkeypatch.setattr(lean, "PREFACE_SECONDS", 0.05)
    async with listening(RecordingInference()) as target:
        reader, writer = await asyncio.open_connection(*target.grpc.split(":"))
        assert await reader.read() == b""
        writer.close()


async def test_even_streams():
    """Stream numbers that belong to servers end the connection."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        client.writer.write(b"\x00\x00\x01\x01\x04\x00\x00\x00\x02\x80")
        await client.closed.wait()
        assert client.goaway is None or client.goaway.error_code != ErrorCodes.NO_ERROR


async def test_what_is_no_http2_ends_the_connection_alone():
    """Garbage after the preface is answered with GOAWAY; others are still served."""
    async with listening(RecordingInference()) as target, connected(target) as client, connected(target) as other:
        await client.settle()
        client.writer.write(bytes(range(256)) * 300)
        await client.closed.wait()
        assert (await other.call("ServerLive")).status == OK


async def test_deadlines():
    """`grpc-timeout` ends a call with DEADLINE_EXCEEDED, and its work with it."""
    slow = SlowInference()
    async with listening(slow) as target, connected(target) as client:
        answer = await client.call("ModelInfer", INFER, grpc_timeout="50m")
        assert answer.status == DEADLINE
        assert "deadline" in answer.text
        await slow.cancelled.acquire()


async def test_a_deadline_of_a_stream():
    """A stream that says nothing ends at its deadline."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        answer = await client.answer(client.begin("ModelStreamInfer", grpc_timeout="50m"))
        assert (answer.status, answer.text) == (DEADLINE, "Deadline Exceeded")


async def test_replies_that_nobody_reads(monkeypatch):
    """From a client that does not read its replies nothing more is read, until it does."""
    monkeypatch.setattr(http2_socket, "WRITTEN_BYTES", 1 << 16)
    fake = RecordingInference()
    async with listening(fake) as target:
        huge = {SettingCodes.INITIAL_WINDOW_SIZE: (1 << 31) - 1}
        async with connected(target, huge) as client:
            client.h2.increment_flow_control_window(1 << 30)
            await client.settle()
            client._reading.cancel()
            client.writer.transport.pause_reading()
            asked, seen = 200, -1
            for _ in range(asked):
                stream = client.h2.get_next_available_stream_id()
                client.h2.send_headers(stream, [(":method", "POST"), (":scheme", "http"), (":authority", "x"),
                    (":path", "/inference.GRPCInferenceService/ModelInfer"), ("content-type", "application/grpc")])  # fmt: skip
                body = framed(large(200_000))
                client.h2.outbound_flow_control_window = 1 << 30
                client.h2.max_outbound_frame_size = 1 << 20
                client.h2._get_stream_by_id(stream).outbound_flow_control_window = 1 << 30
                client.h2.send_data(stream, body, end_stream=True)
                client.flush()
            while seen != len(fake.requests):  # until nothing moves any more
                seen = len(fake.requests)
                await asyncio.sleep(0.3)
            assert seen < asked / 2
