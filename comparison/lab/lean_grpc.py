"""Unary gRPC without grpcio on either side: ModelInfer over our own HTTP/2, for the arm `grpc-lean-both`.

An instrument and not a gRPC server: one method, plain text, no streams. The method is the model server's own, so that
the arm differs from `grpc-lean` in what carries the call alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from clients import grpc_unary
from clients.grpc_status import CallFailedError
from clients.http2 import Http2Channel
from clients.http2_end import End, Stream
from clients.http2_reply import Message, metadata_in, prefixed
from comparison.lab.wires import LEAN_PORT, address
from endpoints.grpc.servicer import GrpcOptions, Servicer
from endpoints.metrics import Observer
from protocol import http2
from protocol.wires import Target
from protos import inference as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from protocol.http2 import Fields
    from protocol.inference import Inference
    from protocol.tensors import Buffer

_MAX_BYTES = 1 << 30
_MOST_STREAMS = 1000
_PATH = f"/{pb.SERVICE}/ModelInfer".encode()
_START = ((":status", "200"), ("content-type", "application/grpc"))
_OK = (("grpc-status", "0"),)
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_UNIMPLEMENTED = 12


def connect(target: Target) -> Inference:
    """A lean client of the lean server."""
    there = Target(grpc=address(target, LEAN_PORT), max_message_bytes=_MAX_BYTES)
    return grpc_unary.GrpcUnary(there, Http2Channel(there))


@contextlib.asynccontextmanager
async def served(inference: Inference, host: str, port: int) -> AsyncIterator[None]:
    """Answer ModelInfer at this port while the context is open."""
    servicer = Servicer(inference, GrpcOptions(max_message_bytes=_MAX_BYTES), Observer())
    ends: set[ServerEnd] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ServerEnd(loop, servicer, ends), host, port)
    try:
        yield
    finally:
        server.close()
        for end in list(ends):
            end.drop()


class AbortedError(Exception):
    """The call ended with a status of its own."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class _Asked(Stream):
    """One call as it comes, and what the servicer sees of it: the part of grpc.aio's ServicerContext that it uses."""

    __slots__ = ("fields", "message", "task", "trailing")

    def __init__(self, number: int, window: int, fields: Fields) -> None:
        super().__init__(number, window)
        self.fields = fields
        self.message = Message(_MAX_BYTES)
        self.task: asyncio.Task[None] | None = None
        self.trailing: tuple[tuple[str, str], ...] = ()

    def time_remaining(self) -> float | None:
        """Seconds; None without a deadline."""
        text = self.fields.get(b"grpc-timeout", b"").decode("latin-1")
        return int(text[:-1]) * _UNITS[text[-1]] if text[:-1].isdigit() and text[-1] in _UNITS else None

    def invocation_metadata(self) -> tuple[tuple[str, Any], ...]:
        return metadata_in(self.fields)

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.trailing = metadata

    async def abort(self, code: grpc.StatusCode, details: str, _trailing: object = ()) -> None:
        raise AbortedError(code.value[0], details)


class ServerEnd(End[_Asked]):
    """The server's end of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, servicer: Servicer, ends: set[ServerEnd]) -> None:
        super().__init__()
        self._loop = loop
        self._servicer = servicer
        self._ends = ends
        self._preface = b""
        self._last = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._ends.add(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if len(self._preface) < len(http2.PREFACE):
            self._preface += data
            data = self._preface[len(http2.PREFACE) :]
            if not http2.PREFACE.startswith(self._preface[: len(http2.PREFACE)]):
                self.drop()
                return
        super().data_received(data)

    def take_fields(self, number: int, fields: Fields, *, ends: bool) -> None:
        stream = self.streams.get(number)
        if stream is None and number > self._last and len(self.streams) < _MOST_STREAMS:
            self._last = number
            stream = self.streams[number] = _Asked(number, self.initial_window, fields)
            if fields.get(b":path") != _PATH:
                self._end(stream, _UNIMPLEMENTED, "the lab's lean endpoint has ModelInfer alone")
                return
        if stream is not None and ends:
            self._begin(stream)
        elif stream is None:
            self.write(http2.RST_STREAM, 0, number, http2.number(http2.REFUSED_STREAM))

    def take_data(self, stream: _Asked, piece: Buffer, *, ends: bool) -> None:
        try:
            if piece:
                stream.message.add(piece)
        except CallFailedError as failed:
            self._end(stream, failed.ended.code, failed.ended.details)
            return
        if ends:
            self._begin(stream)

    def _begin(self, stream: _Asked) -> None:
        if not stream.message.is_whole:
            self._end(stream, 13, "the request has no whole message")
        elif stream.task is None:
            stream.task = self._loop.create_task(self._answer(stream))

    async def _answer(self, stream: _Asked) -> None:
        try:
            reply = await self._servicer.model_infer(bytes(stream.message.content()), stream)
        except AbortedError as error:
            self._end(stream, error.code, error.details)
            return
        if stream.number in self.streams:
            start = self.header_frames(stream.number, self.writer.block(_START))
            end = self.header_frames(stream.number, self.writer.block(_OK, stream.trailing), http2.END_STREAM)
            self.send(stream, start, (prefixed(len(reply)), reply), end)

    def sent(self, stream: _Asked) -> None:
        self.streams.pop(stream.number, None)

    def _end(self, stream: _Asked, code: int, details: str) -> None:
        """A reply of header fields alone."""
        if self.streams.pop(stream.number, None) is not None:
            own = (("grpc-status", str(code)), ("grpc-message", quote(details, safe=" !#$&'()*+,/:;=?@[]~")))
            block = self.header_frames(stream.number, self.writer.block(_START, own), http2.END_STREAM)
            self.put(block)

    def take_reset(self, stream: _Asked, code: int) -> None:  # noqa: ARG002 - whatever the reason
        self.streams.pop(stream.number, None)
        stream.unsent = []
        if stream.task is not None:
            stream.task.cancel()

    def take_goaway(self, last: int) -> None:
        pass  # the client says that it will go, and then goes

    def take_settings(self) -> None:
        pass

    def lose(self, text: str) -> None:  # noqa: ARG002 - likewise
        self._ends.discard(self)
        for stream in list(self.streams.values()):
            self.take_reset(stream, http2.CANCEL)
        self.drop()
