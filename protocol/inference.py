"""`Inference`, the one interface that both ends of every wire have.

An engine implements it in this process, a client by calling another service, a wrapper around another one; an endpoint
exposes any of them. Every method raises `InferenceError` and nothing else for what its caller is to see; cancelling the
task that awaits it cancels the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from crossover.protocol.deadline import NEVER
from crossover.protocol.messages import InferRequest, InferResponse, ParameterValue
from crossover.protocol.recording import Recording
from crossover.protocol.timeline import Timeline

if TYPE_CHECKING:
    from crossover.protos import inference as pb


@dataclass(slots=True)
class CallContext:
    """What travels with a call but is not part of its message."""

    deadline: float = NEVER
    """Absolute, on the monotonic clock in seconds."""
    timeline: Timeline | None = None
    """Stations to stamp; None when nobody asked, so that nothing is stamped."""
    headers: dict[str, str] = field(default_factory=dict)
    """Lower-case names (traceparent, tracestate, x-request-id) as they came; clients send on what
    `protocol.propagation` makes of them."""
    requests: int = 1
    """Requests that this call stands for: more than one when calls were joined."""
    bytes_sent: int = 0
    """Encoded bytes of the request message, filled in by clients."""
    bytes_received: int = 0
    """Encoded bytes of the reply message, filled in by clients."""

    recording: Recording | None = None
    """What the call says over its wire; None when nobody asked, so that nothing is kept."""

    def mark(self, station: str) -> None:
        if self.timeline is not None:
            self.timeline.mark(station)


class Inference(Protocol):
    """Named tensors in, named tensors out; metadata, readiness, statistics and repository control beside it.

    `version` is empty for "the highest that is ready". Unknown models and versions are NOT_FOUND; known ones that
    cannot serve are UNAVAILABLE (`model_ready` answers False for these).
    """

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse: ...

    async def server_live(self, context: CallContext) -> bool: ...

    async def server_ready(self, context: CallContext) -> bool: ...

    async def model_ready(self, name: str, version: str, context: CallContext) -> bool: ...

    async def server_metadata(self, context: CallContext) -> pb.ServerMetadataResponse: ...

    async def model_metadata(self, name: str, version: str, context: CallContext) -> pb.ModelMetadataResponse: ...

    async def model_config(self, name: str, version: str, context: CallContext) -> pb.ModelConfig: ...

    async def model_statistics(self, name: str, version: str, context: CallContext) -> pb.ModelStatisticsResponse:
        """Statistics of one model, or of all when `name` is empty."""
        ...

    async def repository_index(self, ready: bool, context: CallContext) -> pb.RepositoryIndexResponse:
        """Every model version that is known, or only those that are READY."""
        ...

    async def load_model(
        self, name: str, parameters: Mapping[str, ParameterValue | bytes], context: CallContext
    ) -> None: ...

    async def unload_model(
        self, name: str, parameters: Mapping[str, ParameterValue | bytes], context: CallContext
    ) -> None: ...

    async def close(self) -> None: ...


class Immediate(Protocol):
    """An `Inference` that can answer without being awaited where there is nothing to wait for.

    A wrapper that changes `infer` has no such method unless it changes that too.
    """

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        """What `infer` answers or raises; None, and nothing done, where that has to be waited for."""
        ...


class Wrapper:
    """An `Inference` around another one that changes nothing; wrappers override what they change."""

    def __init__(self, inner: Inference) -> None:
        self.inner = inner

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        return await self.inner.infer(request, context)

    async def server_live(self, context: CallContext) -> bool:
        return await self.inner.server_live(context)

    async def server_ready(self, context: CallContext) -> bool:
        return await self.inner.server_ready(context)

    async def model_ready(self, name: str, version: str, context: CallContext) -> bool:
        return await self.inner.model_ready(name, version, context)

    async def server_metadata(self, context: CallContext) -> pb.ServerMetadataResponse:
        return await self.inner.server_metadata(context)

    async def model_metadata(self, name: str, version: str, context: CallContext) -> pb.ModelMetadataResponse:
        return await self.inner.model_metadata(name, version, context)

    async def model_config(self, name: str, version: str, context: CallContext) -> pb.ModelConfig:
        return await self.inner.model_config(name, version, context)

    async def model_statistics(self, name: str, version: str, context: CallContext) -> pb.ModelStatisticsResponse:
        return await self.inner.model_statistics(name, version, context)

    async def repository_index(self, ready: bool, context: CallContext) -> pb.RepositoryIndexResponse:
        return await self.inner.repository_index(ready, context)

    async def load_model(
        self, name: str, parameters: Mapping[str, ParameterValue | bytes], context: CallContext
    ) -> None:
        await self.inner.load_model(name, parameters, context)

    async def unload_model(
        self, name: str, parameters: Mapping[str, ParameterValue | bytes], context: CallContext
    ) -> None:
        await self.inner.unload_model(name, parameters, context)

    async def close(self) -> None:
        await self.inner.close()
