"""A gRPC client by the `h2` library, an implementation that is not ours, which does to a server what real ones do not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import Settings

PATH = "/inference.GRPCInferenceService/"


@dataclass
class Answer:
    """What came back on one stream."""

    headers: list[dict[str, str]] = field(default_factory=list)
    data: bytes = b""
    reset: int | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def fields(self) -> dict[str, str]:
        return {key: value for block in self.headers for key, value in block.items()}

    @property
    def status(self) -> int:
        return int(self.fields["grpc-status"])

    @property
    def text(self) -> str:
        return unquote(self.fields.get("grpc-message", ""))

    @property
    def message(self) -> bytes:
        assert self.data[0] == 0
        assert len(self.data) == 5 + int.from_bytes(self.data[1:5], "big")
        return self.data[5:]


class Client:
    """One connection; `h2` is the library's state machine, for what a well-behaved client would not do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, settings: dict[int, int]) -> None:
        self.h2 = H2Connection(
            H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
        )
        self.h2.local_settings = Settings(client=True, initial_values={**self.h2.local_settings, **settings})
        self.reader, self.writer = reader, writer
        self.answers: dict[int, Answer] = {}
        self.grown: dict[int, int] = {}
        """Credit that came for each stream, in bytes."""
        self.goaway: Any = None
        self.closed = asyncio.Event()
        self.credit = True
        self.h2.initiate_connection()
        self.flush()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self._take(event)
                self.flush()
        self.closed.set()
        for answer in self.answers.values():
            answer.done.set()

    def _take(self, event: Any) -> None:
        answer = self.answers.get(getattr(event, "stream_id", None) or 0, Answer())
        if isinstance(event, events.ResponseReceived | events.TrailersReceived):
            answer.headers.append(dict(event.headers))
        elif isinstance(event, events.DataReceived):
            answer.data += event.data
            if self.credit and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            answer.done.set()
        elif isinstance(event, events.StreamReset):
            answer.reset = event.error_code
            answer.done.set()
        elif isinstance(event, events.WindowUpdated):
            self.grown[event.stream_id] = self.grown.get(event.stream_id, 0) + event.delta
        elif isinstance(event, events.ConnectionTerminated):
            self.goaway = event

    def flush(self) -> None:
        if data := self.h2.data_to_send():
            self.writer.write(data)

    def begin(self, method: str = "ServerLive", *, ends: bool = False, **more: str) -> int:
        """Open a stream; `more` are header fields, with _ for - and for the colon of pseudo fields."""
        stream = self.h2.get_next_available_stream_id()
        fields = {
            ":method": "POST", ":scheme": "http", ":path": PATH + method, ":authority": "localhost",
            "te": "trailers", "content-type": "application/grpc",
        }  # fmt: skip
        fields |= {key.replace("pseudo_", ":").replace("_", "-"): value for key, value in more.items()}
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, list(fields.items()), end_stream=ends)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, ends: bool = True, padding: int | None = None) -> None:
        self.h2.send_data(stream, data, end_stream=ends, pad_length=padding)
        self.flush()

    async def answer(self, stream: int) -> Answer:
        await self.answers[stream].done.wait()
        return self.answers[stream]

    async def call(self, method: str, data: bytes = b"", **more: str) -> Answer:
        stream = self.begin(method, **more)
        self.send(stream, framed(data))
        return await self.answer(stream)

    async def settle(self) -> None:
        """All that was sent before has been dealt with when this returns: a PING comes back in order."""
        acknowledged = asyncio.Event()
        take = self._take

        def watching(event: Any) -> None:
            if isinstance(event, events.PingAckReceived):
                acknowledged.set()
            take(event)

        self._take = watching  # type: ignore[method-assign]
        self.h2.ping(b"settling")
        self.flush()
        await acknowledged.wait()
        self._take = take  # type: ignore[method-assign]

    async def close(self) -> None:
        self._reading.cancel()
        self.writer.transport.abort()
        await asyncio.sleep(0)


def framed(data: bytes, compressed: int = 0) -> bytes:
    """A message with its prefix."""
    return bytes((compressed,)) + len(data).to_bytes(4, "big") + data


@contextlib.asynccontextmanager
async def connected(target: Any, settings: dict[int, int] | None = None) -> AsyncIterator[Client]:
    host, port = target.grpc.split(":")
    client = Client(*await asyncio.open_connection(host, int(port)), settings or {})
    try:
        yield client
    finally:
        await client.close()
