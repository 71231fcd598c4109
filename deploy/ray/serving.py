"""The engine as an autoscaling deployment of Ray Serve: `serve run deploy/ray/serve.yaml`.

Ray's HTTP ingress reaches the function that answers a REST request everywhere (`RestEndpoint`, mounted as ASGI), and its gRPC
ingress the handlers of `Servicer`. A replica is a process with an engine of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray import serve

from crossover.deploy.ray.grpc_ingress import GrpcIngress, Message
from crossover.deploy.ray.rest_ingress import RestIngress
from crossover.endpoints.grpc.answer import GrpcOptions
from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.types import RestOptions
from crossover.model_server.settings import ModelServerSettings, engine_of
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import Wrapper
from crossover.protos import inference as pb
from crossover.service.declared import SettingError
from crossover.service.doors.setup import door_of
from crossover.transport.memory_budget import MemoryBudget

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from crossover.model_server.engine import Engine
    from crossover.protocol.inference import CallContext
    from crossover.protocol.messages import InferRequest, InferResponse

SETTINGS = (
    "max_message_bytes", "default_timeout_ms", "max_in_flight_bytes", "api_keys_file", "forwarded_allow_ips", "allowed_hosts",
    "cors_allow_origins", "model_repository", "model_control", "model_poll_seconds", "strict_readiness", "model_batching",
    "model_workers", "model_max_queue", "response_cache_bytes", "model_isolation", "model_memory_bytes",
    "ort_intra_op_threads", "ort_inter_op_threads", "ort_graph_optimization", "ort_memory_arena", "ort_providers",
    "model_server_rate_limit", "model_server_rate_burst",
)  # fmt: skip
"""The model server's settings that a replica has; what belongs to ports, connections and processes is Ray's to set."""
_OF_ONE_REPLICA = frozenset({"RepositoryModelLoad", "RepositoryModelUnload"})


def application(args: dict[str, Any]) -> serve.Application:
    """What `import_path` names; `args` are settings, by their names in lower case. ValueError, one sentence, for a bad one."""
    settings_of(args)
    return serve.deployment(serve.ingress()(Crossover)).bind(args)


def settings_of(args: Mapping[str, Any]) -> ModelServerSettings:
    """The settings of a replica; ValueError, one sentence, for one that does not do here."""
    for name in args:
        if name not in SETTINGS:
            known = name in ModelServerSettings.fields
            why = "is Ray's to set (http_options, grpc_options, deployments)" if known else "is no setting"
            raise ValueError(f"args: '{name}' {why}; a replica has {', '.join(SETTINGS)}")
    try:
        settings = ModelServerSettings(**args)
    except SettingError as error:
        raise ValueError(f"args: {error.sentence(error.name)}") from None
    if settings.model_control == "explicit":
        raise ValueError(
            "args: model_control is 'explicit', but a load reaches one replica of several here; take poll or none"
        )
    return settings


class Crossover:
    """One replica. Ray calls `__serve_build_asgi_app__` for HTTP, and for gRPC the method of the call's name (see below)."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        settings = settings_of(args)
        self._engine = engine_of(settings)
        inference = OneOfSeveral(self._engine)
        door = door_of(settings, "model_server")
        budget = MemoryBudget(settings.max_in_flight_bytes)
        self._grpc = GrpcIngress(
            inference, GrpcOptions(settings.max_message_bytes, settings.default_timeout_ms, door=door, budget=budget)
        )
        rest = OipRest(
            lambda _: (None, inference), settings=RestOptions(settings.max_message_bytes, settings.default_timeout_ms)
        )
        self._rest = RestIngress(rest, door, self._engine.repository.start, self._engine.close)

    def __serve_build_asgi_app__(self) -> RestIngress:
        return self._rest

    async def unary(self, method: str, request: bytes, context: Any) -> Message:
        return await self._grpc.unary(method, request, context)

    def stream(self, method: str, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Message]:
        return self._grpc.stream(method, requests, context)


class OneOfSeveral(Wrapper):
    """The engine of a replica, whose repository follows its files: what one replica alone would do is refused."""

    inner: Engine

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        """See `protocol.inference.Immediate`."""
        return self.inner.infer_now(request, context)

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        if method in _OF_ONE_REPLICA:
            raise InferenceError(
                Code.UNIMPLEMENTED,
                "load and unload would reach one replica of several; replicas follow the repository's files (model_control)",
            )
        return await super().control(method, request, context)


def _unary(method: str) -> Any:
    async def call(self: Crossover, request: bytes, grpc_context: Any) -> Message:
        return await self.unary(method, request, grpc_context)

    return call


def _stream(method: str) -> Any:
    async def call(self: Crossover, request: AsyncIterator[bytes], grpc_context: Any) -> AsyncIterator[Message]:
        async for reply in self.stream(method, request, grpc_context):
            yield reply

    return call


for _name, _method in pb.METHODS.items():
    setattr(Crossover, _name, (_stream if _method.server_streaming else _unary)(_name))
