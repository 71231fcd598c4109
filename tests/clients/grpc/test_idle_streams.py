"""A stream that was idle for long is given up by the client before the service ends it."""

from __future__ import annotations

import asyncio

from crossover.clients import grpc_stream
from crossover.protocol.inference import CallContext
from tests.fakes import RecordingInference
from tests.grpc_service import listening, request


async def test_an_idle_stream_is_replaced(monkeypatch):
    """The next request goes over a fresh stream, so none is lost to one that the service is about to end."""
    opened = []
    make = grpc_stream._Stream.__init__

    def counted(self, *arguments):
        opened.append(self)
        make(self, *arguments)

    monkeypatch.setattr(grpc_stream._Stream, "__init__", counted)
    async with listening(RecordingInference()) as target:
        client = grpc_stream.connect(target)
        for number in range(3):
            await client.infer(request(str(number)), CallContext())
        assert len(opened) == 1
        monkeypatch.setattr(grpc_stream, "IDLE_SECONDS", 0.05)
        await asyncio.sleep(0.1)
        assert (await client.infer(request("later"), CallContext())).id == "later"
        assert len(opened) == 2
        await client.close()
