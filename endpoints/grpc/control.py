"""The control plane's calls: readiness, metadata, configuration, statistics, repository (OIP and Triton's extensions)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.protos import inference as pb

Call: TypeAlias = Callable[[Any, CallContext], Awaitable[Any]]


class Control:
    """Each call takes the parsed request and gives the reply message."""

    def __init__(self, inference: Inference, repository_control: bool) -> None:
        self._inference = inference
        self._repository_control = repository_control

    def calls(self) -> dict[str, Call]:
        return {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }

    async def _server_live(self, _: Any, context: CallContext) -> Any:
        return pb.ServerLiveResponse(live=await self._inference.server_live(context))

    async def _server_ready(self, _: Any, context: CallContext) -> Any:
        return pb.ServerReadyResponse(ready=await self._inference.server_ready(context))

    async def _model_ready(self, request: Any, context: CallContext) -> Any:
        return pb.ModelReadyResponse(ready=await self._inference.model_ready(request.name, request.version, context))

    async def _server_metadata(self, _: Any, context: CallContext) -> Any:
        return await self._inference.server_metadata(context)

    async def _model_metadata(self, request: Any, context: CallContext) -> Any:
        return await self._inference.model_metadata(request.name, request.version, context)

    async def _model_config(self, request: Any, context: CallContext) -> Any:
        return pb.ModelConfigResponse(config=await self._inference.model_config(request.name, request.version, context))

    async def _model_statistics(self, request: Any, context: CallContext) -> Any:
        return await self._inference.model_statistics(request.name, request.version, context)

    async def _repository_index(self, request: Any, context: CallContext) -> Any:
        _refuse_named_repository(request.repository_name)
        return await self._inference.repository_index(request.ready, context)

    async def _load(self, request: Any, context: CallContext) -> Any:
        parameters = self._controlled(request)
        await self._inference.load_model(request.model_name, parameters, context)
        return pb.RepositoryModelLoadResponse()

    async def _unload(self, request: Any, context: CallContext) -> Any:
        parameters = self._controlled(request)
        await self._inference.unload_model(request.model_name, parameters, context)
        return pb.RepositoryModelUnloadResponse()

    def _controlled(self, request: Any) -> dict[str, Any]:
        _refuse_named_repository(request.repository_name)
        if not self._repository_control:
            raise InferenceError(Code.PERMISSION_DENIED, "loading and unloading models is switched off here")
        return protobuf_codec.repository_parameters(request.parameters)


def _refuse_named_repository(name: str) -> None:
    if name:
        raise InferenceError(Code.UNIMPLEMENTED, "there is one repository here; leave repository_name empty")
