"""A call whose message does not come is ended by the server, with a status, on the port of grpcio."""

from __future__ import annotations

import pytest

from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protos import inference as pb
from crossover.transport.grpcio import first_message
from tests.fakes import RecordingInference
from tests.grpc_service import listening, request
from tests.transport.grpc.http2_client import connected, framed

DEADLINE_EXCEEDED, INTERNAL, OK = 4, 13, 0
SOME = 3
"""Calls: grpc.aio itself takes the first, the pool the others."""
METHODS = ("ModelInfer", "ServerReady", "ModelMetadata")


pytestmark = pytest.mark.parametrize("library", ["grpcio"], indirect=True)
"""Our own HTTP/2 has its own bound."""


@pytest.mark.parametrize("method", METHODS)
async def test_a_call_that_ends_without_a_message_is_told(method):
    """INTERNAL at once, and the connection goes on."""
    async with listening(RecordingInference()) as target, connected(target) as client:
        for answer in [
            await client.answer(stream) for stream in [client.begin(method, ends=True) for _ in range(SOME)]
        ]:
            assert answer.status == INTERNAL
            assert "no message" in answer.text
        assert (await client.call("ServerLive")).status == OK


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("begun", [b"", framed(b"x" * 100)[:20]])
async def test_a_call_that_never_sends_its_message_is_ended(monkeypatch, method, begun):
    """DEADLINE_EXCEEDED by the server's own clock, whether nothing or half of it came; others are served meanwhile."""
    monkeypatch.setattr(first_message, "MESSAGE_SECONDS", 0.3)
    async with listening(RecordingInference()) as target, connected(target) as client:
        streams = [client.begin(method) for _ in range(SOME)]
        for stream in streams:
            if begun:
                client.send(stream, begun, ends=False)
        message = protobuf_codec.encode_request(request())
        assert pb.ModelInferResponse.FromString((await client.call("ModelInfer", message)).message).model_name == "echo"
        for stream in streams:
            answer = await client.answer(stream)
            assert answer.status == DEADLINE_EXCEEDED
            assert "0.3 s" in answer.text
