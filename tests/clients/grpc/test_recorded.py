"""What `grpc-lean` records of a call is what a relay between it and the model server sees."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from crossover.protocol.deadline import after
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.recording import Recording
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import Target, connect
from crossover.transport.http2 import frames as http2


class Relay:
    """Passes bytes on, and keeps them by direction."""

    def __init__(self, target: str) -> None:
        self._host, _, self._port = target.rpartition(":")
        self.seen = {True: bytearray(), False: bytearray()}
        self.over = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, on = await asyncio.open_connection(self._host, int(self._port))
        await asyncio.gather(self._pass(reader, on, True), self._pass(back, writer, False), return_exceptions=True)
        self.over.set()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, is_sent: bool) -> None:
        while data := await source.read(1 << 16):
            self.seen[is_sent] += data
            sink.write(data)
            await sink.drain()
        sink.close()

    def frames(self, is_sent: bool) -> list[tuple[bool, int, int, int]]:
        """HEADERS and DATA frames of the first stream."""
        data, found = bytes(self.seen[is_sent]), []
        at = len(http2.PREFACE) if is_sent else 0
        while at < len(data):
            size, kind, flags = int.from_bytes(data[at : at + 3], "big"), data[at + 3], data[at + 4]
            if int.from_bytes(data[at + 5 : at + 9], "big") == 1 and kind in (http2.DATA, http2.HEADERS):
                found.append((is_sent, kind, flags, size))
            at += 9 + size
        return found


@pytest.mark.parametrize("columns", [2, 100_000])
def test_frames_and_fields_are_those_of_the_wire(where, columns):
    """HEADERS and DATA in order with flags and sizes, those sent frame by frame; the fields that a gRPC request has; the reply's, too."""

    async def run() -> tuple[Relay, Recording]:
        relay = Relay(where["grpc"])
        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        client = connect("grpc-lean", Target(grpc=f"127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        context = CallContext(after(20.0), headers={"x-request-id": "request-7"})
        context.recording = Recording()
        await client.infer(
            InferRequest("identity", [Tensor.from_array("x", np.zeros((1, columns), np.float32))]), context
        )
        await client.close()
        await asyncio.wait_for(relay.over.wait(), 10.0)
        server.close()
        return relay, context.recording

    relay, recording = asyncio.run(run())
    seen = Recording(frames=relay.frames(True) + relay.frames(False))
    for is_sent in (True, False):
        assert recording.joined_frames(is_sent=is_sent) == seen.joined_frames(is_sent=is_sent)
    assert [frame for frame in recording.frames if frame[0]] == relay.frames(True)
    head = dict(recording.head)
    assert (head[":method"], head[":path"], head["te"]) == (
        "POST",
        "/inference.GRPCInferenceService/ModelInfer",
        "trailers",
    )
    assert head["x-request-id"] == "request-7" and head["grpc-timeout"][:-1].isdigit()
    assert {":authority", ":scheme", "user-agent", "grpc-accept-encoding", "content-type"} < set(head)
    assert dict(recording.reply_head)[":status"] == "200"
    assert dict(recording.reply_trailers)["grpc-status"] == "0"
