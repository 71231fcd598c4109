"""The gRPC channel that every gRPC client here uses, and the control plane over it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import grpc
from grpc import aio

from protocol import deadline, protobuf_codec
from protocol.errors import Code, InferenceError
from protocol.grpc_errors import DETAILS_KEY, error_from_status
from protocol.inference import CallContext
from protocol.messages import ParameterValue
from protocol.wires import Target
from protos import inference as pb


def channel_to(target: Target) -> Any:
    """A lazy channel; it connects at the first call, and again by itself, quickly, after the service was away."""
    options = [
        ("grpc.max_receive_message_length", target.max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if target.tls_ca is None:
        return aio.insecure_channel(target.grpc, options)
    key = target.tls_key.read_bytes() if target.tls_key else None
    cert = target.tls_cert.read_bytes() if target.tls_cert else None
    credentials = grpc.ssl_channel_credentials(target.tls_ca.read_bytes(), key, cert)
    return aio.secure_channel(target.grpc, credentials, options)


def error_of(error: aio.AioRpcError, target: str) -> InferenceError:
    """What a failed call means: our code where the service told it, else the nearest one."""
    details = next((value for key, value in error.trailing_metadata() or () if key == DETAILS_KEY), None)
    return error_from_status(error.code().value[0], error.details() or "", details, target)


class GrpcControl:
    """Everything of `Inference` but `infer`, over unary calls."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._channel: Any = None
        self._calls: dict[str, Any] = {}

    def call_of(self, name: str) -> Any:
        """The multicallable for a method, bytes in and out; the channel belongs to the running event loop."""
        call = self._calls.get(name)
        if call is None:
            if self._channel is None:
                self._channel = channel_to(self.target)
            call = self._calls[name] = self._channel.unary_unary(f"/{pb.SERVICE}/{name}")
        return call

    def channel(self) -> Any:
        if self._channel is None:
            self._channel = channel_to(self.target)
        return self._channel

    async def _ask(self, name: str, request: Any, context: CallContext) -> Any:
        try:
            data = await self.call_of(name)(
                request.SerializeToString(),
                timeout=deadline.timeout_of(context.deadline),
                metadata=tuple(context.headers.items()),
            )
        except aio.AioRpcError as error:
            raise error_of(error, self.target.grpc) from None
        except aio.UsageError:
            raise InferenceError(Code.UNAVAILABLE, f"the client of {self.target.grpc} is closed") from None
        return pb.METHODS[name].response.FromString(data)

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
        self._calls.clear()
        if channel is not None:
            await asyncio.shield(channel.close())
