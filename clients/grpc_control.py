"""The control plane of the Open Inference Protocol over unary gRPC calls, whatever carries them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from google.protobuf.message import DecodeError

from crossover.clients.grpc_status import error_of, unreadable
from crossover.protocol import deadline, timeline
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.limits import HEAVY_BYTES
from crossover.protocol.propagation import propagated
from crossover.protocol.tensors import Buffer
from crossover.protocol.wires import Target, bearer
from crossover.protos import inference as pb
from crossover.transport.grpc.metadata import Metadata
from crossover.transport.grpc.status import CallFailedError, ClientClosedError, UnaryMethod, UnaryTransport
from crossover.transport.off_loop import off_loop

_RENEWALS = 3
_WITH_FILES = "RepositoryModelLoad"
"""The only method whose requests may be large; to ask protobuf for their size costs what writing them does."""


class GrpcControl(Inference):
    """Everything of `Inference` but `infer`, over unary calls."""

    def __init__(self, target: Target, transport: UnaryTransport) -> None:
        self.target = target
        self._transport = transport
        self._methods: dict[str, UnaryMethod] = {}

    async def exchange(
        self, name: str, data: bytes, context: CallContext, *, timed: bool = False
    ) -> tuple[Buffer, Metadata]:
        """The reply to one unary call, bytes in and out; with `timed` also the trailing metadata, which has the stamps."""
        metadata = tuple(propagated(context.headers).items()) if context.headers else ()
        if timed:
            metadata += ((timeline.HEADER, "1"),)
        recording = context.recording
        if recording is not None:
            recording.begin(_path(name), list(metadata), data)
        if self.target.api_key is not None:
            metadata += bearer(self.target)  # behind the recording: nobody is to see it
        wanted = timed or recording is not None
        try:
            method = self._methods.get(name) or self._method(name)
            reply, trailing = await method.call(data, context.deadline, metadata, trailing=wanted, recording=recording)
        except CallFailedError as failed:
            status = failed.status
            if recording is not None:
                recording.end(status.code, list(status.trailing), details=status.details)
            raise error_of(status, self.target.grpc) from None
        except ClientClosedError:
            raise InferenceError(Code.UNAVAILABLE, f"the client of {self.target.grpc} is closed") from None
        if recording is not None:
            recording.end(0, list(trailing), bytes(reply))
        return reply, trailing

    def _method(self, name: str) -> UnaryMethod:
        method = self._methods[name] = self._transport.method(_path(name))
        return method

    def check_size(self, data: bytes) -> None:
        """Refused here a large message costs nothing, and does not end a stream for every request on it."""
        if len(data) > self.target.max_message_bytes:
            raise InferenceError(
                Code.TOO_LARGE,
                f"the request message has {len(data)} bytes; the limit is {self.target.max_message_bytes} "
                "(MAX_MESSAGE_BYTES)",
            )

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        if method == "ServerReady" and context.deadline != deadline.NEVER:
            return await self._ready(method, request, context)
        return await self._ask(method, request, context)

    async def _ready(self, method: str, request: Any, context: CallContext) -> Any:
        """A balancer's connection stays with a service that leaves, and others behind it may be ready: a no, and no answer
        in a part of the time, are asked again on a fresh connection.
        """
        for left in range(_RENEWALS, 0, -1):
            until = deadline.after(deadline.remaining(context.deadline) / (left + 1))
            try:
                reply = await self._ask(method, request, replace(context, deadline=until))
                if reply.ready:
                    return reply
            except InferenceError as error:
                if error.code not in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                    raise
            self._transport.renew()
        return await self._ask(method, request, context)

    async def _ask(self, method: str, request: Any, context: CallContext) -> Any:
        data = await off_loop(HEAVY_BYTES if method == _WITH_FILES else 0, request.SerializeToString)
        self.check_size(data)
        reply, _ = await self.exchange(method, data, context)
        try:
            return await off_loop(len(reply), pb.METHODS[method].response.FromString, bytes(reply))
        except DecodeError:
            raise unreadable(invalid(f"it is not a {method} reply"), self.target.grpc) from None

    async def close(self) -> None:
        self._methods.clear()
        await self._transport.close()


def _path(method: str) -> str:
    return f"/{pb.SERVICE}/{method}"
