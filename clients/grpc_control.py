"""The control plane of the Open Inference Protocol over unary gRPC calls, whatever carries them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError

from crossover.clients.grpc_status import error_of, unreadable
from crossover.protocol import timeline
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import ParameterValue
from crossover.protocol.propagation import propagated
from crossover.protocol.tensors import Buffer
from crossover.protocol.wires import Target
from crossover.protos import inference as pb
from crossover.transport.grpc.messages import Metadata
from crossover.transport.grpc.status import CallFailedError, ClientClosedError, UnaryMethod, UnaryTransport


class GrpcControl:
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
        wanted = timed or recording is not None
        try:
            reply, trailing = await self._method(name).call(data, context.deadline, metadata, trailing=wanted)
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
        method = self._methods.get(name)
        if method is None:
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

    async def _ask(self, name: str, request: Any, context: CallContext) -> Any:
        data = request.SerializeToString()
        self.check_size(data)
        reply, _ = await self.exchange(name, data, context)
        try:
            return pb.METHODS[name].response.FromString(bytes(reply))
        except DecodeError:
            raise unreadable(invalid(f"it is not a {name} reply"), self.target.grpc) from None

    async def server_live(self, context: CallContext) -> bool:
        return (await self._ask("ServerLive", pb.ServerLiveRequest(), context)).live

    async def server_ready(self, context: CallContext) -> bool:
        return (await self._ask("ServerReady", pb.ServerReadyRequest(), context)).ready

    async def model_ready(self, name: str, version: str, context: CallContext) -> bool:
        return (await self._ask("ModelReady", pb.ModelReadyRequest(name=name, version=version), context)).ready

    async def server_metadata(self, context: CallContext) -> pb.ServerMetadataResponse:
        return await self._ask("ServerMetadata", pb.ServerMetadataRequest(), context)

    async def model_metadata(self, name: str, version: str, context: CallContext) -> pb.ModelMetadataResponse:
        return await self._ask("ModelMetadata", pb.ModelMetadataRequest(name=name, version=version), context)

    async def model_config(self, name: str, version: str, context: CallContext) -> pb.ModelConfig:
        return (await self._ask("ModelConfig", pb.ModelConfigRequest(name=name, version=version), context)).config

    async def model_statistics(self, name: str, version: str, context: CallContext) -> pb.ModelStatisticsResponse:
        return await self._ask("ModelStatistics", pb.ModelStatisticsRequest(name=name, version=version), context)

    async def repository_index(self, ready: bool, context: CallContext) -> pb.RepositoryIndexResponse:
        return await self._ask("RepositoryIndex", pb.RepositoryIndexRequest(ready=ready), context)

    async def load_model(
        self, name: str, parameters: Mapping[str, ParameterValue | bytes], context: CallContext
    ) -> None:
        request = pb.RepositoryModelLoadRequest(model_name=name)
        protobuf_codec.set_repository_parameters(request.parameters, parameters)
        await self._ask("RepositoryModelLoad", request, context)

    async def unload_model(
        self, name: str, parameters: Mapping[str, ParameterValue | bytes], context: CallContext
    ) -> None:
        request = pb.RepositoryModelUnloadRequest(model_name=name)
        protobuf_codec.set_repository_parameters(request.parameters, parameters)
        await self._ask("RepositoryModelUnload", request, context)

    async def close(self) -> None:
        self._methods.clear()
        await self._transport.close()


def _path(method: str) -> str:
    return f"/{pb.SERVICE}/{method}"
