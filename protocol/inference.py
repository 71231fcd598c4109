"""`Inference`, the one interface that both ends of every wire have.

An engine implements it in this process, a client by calling another service, a wrapper around another one; an endpoint
exposes any of them. Every method raises `InferenceError` and nothing else for what its caller is to see; cancelling the
task that awaits it cancels the work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.deadline import NEVER
from crossover.protocol.messages import InferRequest, InferResponse, ParameterValue
from crossover.protocol.recording import Recording
from crossover.protocol.timeline import Timeline
from crossover.protos import inference as pb


@dataclass(slots=True)
class CallContext:
    """The data of a call beside its message."""

    deadline: float = NEVER
    """Absolute, on the monotonic clock in seconds."""
    timeline: Timeline | None = None
    """Stations to stamp; None when the caller asked for no timeline."""
    headers: dict[str, str] = field(default_factory=dict)
    """Lower-case names (traceparent, tracestate, x-request-id) as they came; clients send on what
    `protocol.propagation` makes of them."""
    bytes_sent: int = 0
    """Encoded bytes of the request message, filled in by clients."""
    bytes_received: int = 0
    """Encoded bytes of the reply message, filled in by clients."""

    recording: Recording | None = None
    """The bytes and fields of the call on its wire; None when the caller asked for no recording."""

    def mark(self, station: str) -> None:
        if self.timeline is not None:
            self.timeline.mark(station)


class Inference(ABC):
    """Named tensors in, named tensors out; beside it the control plane, whose messages are the protocol's own.

    `control` takes every call of `inference.GRPCInferenceService` that is not an inference, by the method's name. The
    methods below it say the same with plain values. An empty version is the highest that is ready. Unknown models and
    versions are NOT_FOUND; known ones that cannot serve are UNAVAILABLE (`model_ready` answers False for these).
    """

    @abstractmethod
    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse: ...

    @abstractmethod
    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        """Answer a request message of the method (see `pb.METHODS`) with its reply message."""

    @abstractmethod
    async def close(self) -> None: ...

    async def server_live(self, context: CallContext) -> bool:
        return bool((await self.control("ServerLive", pb.ServerLiveRequest(), context)).live)

    async def server_ready(self, context: CallContext) -> bool:
        return bool((await self.control("ServerReady", pb.ServerReadyRequest(), context)).ready)

    async def model_ready(self, name: str, version: str, context: CallContext) -> bool:
        return bool((await self.control("ModelReady", pb.ModelReadyRequest(name=name, version=version), context)).ready)

    async def server_metadata(self, context: CallContext) -> pb.ServerMetadataResponse:
        return cast(
            "pb.ServerMetadataResponse", await self.control("ServerMetadata", pb.ServerMetadataRequest(), context)
        )

    async def model_metadata(self, name: str, version: str, context: CallContext) -> pb.ModelMetadataResponse:
        request = pb.ModelMetadataRequest(name=name, version=version)
        return cast("pb.ModelMetadataResponse", await self.control("ModelMetadata", request, context))

    async def model_config(self, name: str, version: str, context: CallContext) -> pb.ModelConfig:
        reply = await self.control("ModelConfig", pb.ModelConfigRequest(name=name, version=version), context)
        return cast("pb.ModelConfig", reply.config)

    async def model_statistics(self, name: str, version: str, context: CallContext) -> pb.ModelStatisticsResponse:
        """Statistics of one model, or of all when `name` is empty."""
        request = pb.ModelStatisticsRequest(name=name, version=version)
        return cast("pb.ModelStatisticsResponse", await self.control("ModelStatistics", request, context))

    async def repository_index(self, ready: bool, context: CallContext) -> pb.RepositoryIndexResponse:
        """Every model version that is known, or only those that are READY."""
        request = pb.RepositoryIndexRequest(ready=ready)
        return cast("pb.RepositoryIndexResponse", await self.control("RepositoryIndex", request, context))

    async def load_model(
        self, name: str, parameters: Mapping[str, ParameterValue | bytes], context: CallContext
    ) -> None:
        """`parameters` are Triton's: `config` (text) and `file:PATH` (bytes)."""
        request = pb.RepositoryModelLoadRequest(model_name=name)
        protobuf_codec.set_repository_parameters(request.parameters, parameters)
        await self.control("RepositoryModelLoad", request, context)

    async def unload_model(
        self, name: str, parameters: Mapping[str, ParameterValue | bytes], context: CallContext
    ) -> None:
        request = pb.RepositoryModelUnloadRequest(model_name=name)
        protobuf_codec.set_repository_parameters(request.parameters, parameters)
        await self.control("RepositoryModelUnload", request, context)


class Immediate(Protocol):
    """An `Inference` that can answer synchronously when it would not suspend.

    A wrapper that changes `infer` has no such method unless it changes that too.
    """

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        """The result of `infer`, or its error; None, and nothing done, when it would have to wait."""
        ...


class Wrapper(Inference):
    """An `Inference` around another one that changes nothing; wrappers override what they change."""

    def __init__(self, inner: Inference) -> None:
        self.inner = inner

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        return await self.inner.infer(request, context)

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        return await self.inner.control(method, request, context)

    async def close(self) -> None:
        await self.inner.close()
