"""A gRPC server by the `h2` library, an implementation that is not ours, which does to a client what real ones do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import Settings

from crossover.transport.grpc.client import Address, Channel

START = [(":status", "200"), ("content-type", "application/grpc")]
OK = [("grpc-status", "0")]


def message(data: bytes, compressed: int = 0) -> bytes:
    return bytes((compressed,)) + len(data).to_bytes(4, "big") + data


@dataclass
class Peer(asyncio.Protocol):
    """One connection; `answer(peer, stream, body, headers)` is called with every whole request."""

    answer: Callable[[Peer, int, bytes, dict[str, str]], Any]
    settings: dict[int, int] = field(default_factory=dict)
    credit: bool = True
    """Give flow control credit as data comes."""

    def __post_init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.bodies: dict[int, bytes] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.resets: list[int] = []
        self.most_at_once = 0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.h2.local_settings = Settings(client=False, initial_values={**self.h2.local_settings, **self.settings})
        self.h2.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            self._take(event)
        self.flush()

    def _take(self, event: Any) -> None:
        if isinstance(event, events.RequestReceived):
            self.headers[event.stream_id], self.bodies[event.stream_id] = dict(event.headers), b""
            self.most_at_once = max(self.most_at_once, len(self.bodies))
        elif isinstance(event, events.DataReceived):
            self.bodies[event.stream_id] += event.data
            if self.credit and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            self.answer(self, event.stream_id, self.bodies.pop(event.stream_id), self.headers[event.stream_id])
        elif isinstance(event, events.StreamReset):
            self.resets.append(event.stream_id)
            self.bodies.pop(event.stream_id, None)

    def reply(self, stream: int, data: bytes, trailers: list[tuple[str, str]] = OK) -> None:
        self.h2.send_headers(stream, START)
        self.h2.send_data(stream, data)
        self.h2.send_headers(stream, trailers, end_stream=True)
        self.flush()

    def flush(self) -> None:
        if self.transport is not None and (data := self.h2.data_to_send()):
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None


def echo(peer: Peer, stream: int, body: bytes, _headers: dict[str, str]) -> None:
    """The request's own message comes back."""
    peer.reply(stream, body)


@asynccontextmanager
async def serving(answer: Any = echo, **more: Any) -> AsyncIterator[tuple[Any, list[Peer]]]:
    """A client's method of a server that answers so, and the connections that the server has had."""
    peers: list[Peer] = []

    def make() -> Peer:
        peers.append(Peer(answer, **more))
        return peers[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    channel = Channel(Address.of(f"127.0.0.1:{port}"), limit=1 << 20, user_agent="test")
    try:
        yield channel.method("/a.Service/Method"), peers
    finally:
        await channel.close()
        for peer in peers:
            if peer.transport is not None:
                peer.transport.abort()
        server.close()
