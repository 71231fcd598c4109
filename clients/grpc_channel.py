"""The gRPC channel that every gRPC client here uses, and the control plane over it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc import aio

from clients.grpc_call import CallFailedError, Ended, UnaryMethod
from protocol import deadline, protobuf_codec, timeline
from protocol.errors import Code, InferenceError, invalid
from protocol.grpc_errors import DETAILS_KEY, error_from_status
from protocol.inference import CallContext
from protocol.messages import ParameterValue
from protocol.wires import Target
from protos import inference as pb

LONGEST_CONNECT_MS = 5000
"""How long one attempt to connect may take before callers are told; gRPC calls it the shortest backoff."""


def channel_to(target: Target) -> Any:
    """A lazy channel; it connects at the first call, and again by itself, quickly, after the service was away."""
    options = [
        ("grpc.max_receive_message_length", target.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", LONGEST_CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if target.tls_ca is None:
        return aio.insecure_channel(target.grpc, options)
    return aio.secure_channel(target.grpc, _credentials(target), options)


def _credentials(target: Target) -> Any:
    """gRPC says nothing about files that it cannot use, so ssl reads them first; INVALID_ARGUMENT when it cannot."""
    try:
        context = ssl.create_default_context(cafile=target.tls_ca)
        if target.tls_cert is not None:
            context.load_cert_chain(target.tls_cert, target.tls_key)
        ca, key, cert = (
            file.read_bytes() if file else None for file in (target.tls_ca, target.tls_key, target.tls_cert)
        )
    except OSError as error:
        raise invalid(f"the TLS files for {target.grpc} cannot be used: {error.strerror or error}") from None
    return grpc.ssl_channel_credentials(ca, key, cert)


def error_of(ended: Ended, target: str) -> InferenceError:
    """What a failed call means: our code where the service told it, else the nearest one."""
    details = next((value for key, value in ended.trailing if key == DETAILS_KEY and isinstance(value, bytes)), None)
    return error_from_status(ended.code, ended.details, details, target)


def unreadable(error: InferenceError, target: str) -> InferenceError:
    """A reply that breaks the protocol is not its caller's fault."""
    return InferenceError(Code.UNKNOWN, f"the reply of {target} cannot be read: {error.message}")


class GrpcControl:
    """Everything of `Inference` but `infer`, over unary calls."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._channel: Any = None
        self._methods: dict[str, UnaryMethod] = {}

    async def exchange(
        self, name: str, data: bytes, context: CallContext, *, timed: bool = False
    ) -> tuple[bytes, tuple[Any, ...]]:
        """The reply to one unary call, bytes in and out; with `timed` also the trailing metadata, which has the stamps."""
        method = self._methods.get(name)
        if method is None:
            method = self._methods[name] = UnaryMethod(self.channel(), f"/{pb.SERVICE}/{name}")
        metadata = tuple(context.headers.items())
        if timed:
            metadata += ((timeline.HEADER, "1"),)
        recording = context.recording
        if recording is not None:
            recording.begin(f"/{pb.SERVICE}/{name}", list(metadata), data)
        wanted = timed or recording is not None
        try:
            reply, trailing = await method.call(data, deadline.timeout_of(context.deadline), metadata, trailing=wanted)
        except CallFailedError as failed:
            ended = failed.ended
            if recording is not None:
                recording.end(ended.code, list(ended.trailing), details=ended.details)
            raise error_of(ended, self.target.grpc) from None
        except aio.UsageError:
            raise InferenceError(Code.UNAVAILABLE, f"the client of {self.target.grpc} is closed") from None
        if recording is not None:
            recording.end(0, list(trailing), reply)
        return reply, trailing

    def channel(self) -> Any:
        """The channel, made at the first call, since it belongs to the event loop that runs then."""
        if self._channel is None:
            self._channel = channel_to(self.target)
        return self._channel

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
            return pb.METHODS[name].response.FromString(reply)
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
        channel, self._channel = self._channel, None
        for method in self._methods.values():
            method.close()
        self._methods.clear()
        if channel is not None:
            await asyncio.shield(channel.close())
