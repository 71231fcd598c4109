"""The control plane's calls on the engine's repository, by the name of the gRPC method."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from crossover import VERSION
from crossover.protocol.codecs.protobuf import codec as protobuf_codec
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.names import shown
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from crossover.model_server.engine import Engine

SERVER_NAME = "crossover"
EXTENSIONS = (
    "binary_tensor_data", "classification", "model_repository", "model_configuration", "statistics", "parameters",
    "model_repository(unload_dependents)", "system_shared_memory",
)  # fmt: skip
UNLOAD_DEPENDENTS = "unload_dependents"


async def _server_live(_engine: Engine, _request: Any) -> Any:
    return pb.ServerLiveResponse(live=True)


async def _server_ready(engine: Engine, _request: Any) -> Any:
    return pb.ServerReadyResponse(ready=engine.unready_reason is None)


async def _model_ready(engine: Engine, request: Any) -> Any:
    return pb.ModelReadyResponse(ready=engine.repository.ready(request.name, request.version))


async def _server_metadata(_engine: Engine, _request: Any) -> Any:
    return pb.ServerMetadataResponse(name=SERVER_NAME, version=VERSION, extensions=EXTENSIONS)


async def _model_metadata(engine: Engine, request: Any) -> Any:
    loaded = engine.repository.resolve(request.name, request.version)
    return loaded.metadata([loaded.version] if request.version else engine.repository.ready_versions(request.name))


async def _model_config(engine: Engine, request: Any) -> Any:
    return pb.ModelConfigResponse(config=engine.repository.resolve(request.name, request.version).config)


async def _model_statistics(engine: Engine, request: Any) -> Any:
    """Of one model, of one of its versions, or of all."""
    engine.repository.check_started()
    loaded = engine.repository.loaded()
    if request.name:
        resolved = engine.repository.resolve(request.name, request.version)
        shown = [
            version
            for version in loaded
            if version.name == request.name and (version is resolved or not request.version)
        ]
    else:
        shown = sorted(loaded, key=lambda version: (version.name, version.number))
    return pb.ModelStatisticsResponse(
        model_stats=[version.statistics.to_message(version.name, version.version) for version in shown]
    )


async def _repository_index(engine: Engine, request: Any) -> Any:
    await engine.repository.discover()
    return engine.repository.index(request.ready)


async def _load(engine: Engine, request: Any) -> Any:
    parameters = await asyncio.to_thread(protobuf_codec.repository_parameters, request.parameters)  # copies of files
    await engine.repository.load(request.model_name, parameters)
    return pb.RepositoryModelLoadResponse()


async def _unload(engine: Engine, request: Any) -> Any:
    parameters = protobuf_codec.repository_parameters(request.parameters)
    dependents = parameters.get(UNLOAD_DEPENDENTS, False)
    if type(dependents) is not bool:
        raise invalid(f"parameter '{UNLOAD_DEPENDENTS}' is {shown(dependents)}; it takes true or false")
    await engine.repository.unload(request.model_name, dependents=dependents)
    return pb.RepositoryModelUnloadResponse()


async def _shared_memory_status(engine: Engine, request: Any) -> Any:
    return engine.shared_memory.status(request.name)


async def _register_shared_memory(engine: Engine, request: Any) -> Any:
    engine.shared_memory.register(request)
    return pb.SystemSharedMemoryRegisterResponse()


async def _unregister_shared_memory(engine: Engine, request: Any) -> Any:
    engine.shared_memory.unregister(request.name)
    return pb.SystemSharedMemoryUnregisterResponse()


async def _no_gpu_memory(_engine: Engine, request: Any) -> Any:
    """There is none, which clients may ask and say: their examples begin by forgetting all regions of both kinds."""
    if isinstance(request, pb.CudaSharedMemoryStatusRequest):
        return pb.CudaSharedMemoryStatusResponse()
    return pb.CudaSharedMemoryUnregisterResponse()


async def _register_gpu_memory(_engine: Engine, _request: Any) -> Any:
    raise InferenceError(Code.UNIMPLEMENTED, "models run on the CPU here; there is no CUDA shared memory")


CONTROL: dict[str, Callable[[Engine, Any], Awaitable[Any]]] = {
    "ServerLive": _server_live,
    "ServerReady": _server_ready,
    "ModelReady": _model_ready,
    "ServerMetadata": _server_metadata,
    "ModelMetadata": _model_metadata,
    "ModelConfig": _model_config,
    "ModelStatistics": _model_statistics,
    "RepositoryIndex": _repository_index,
    "RepositoryModelLoad": _load,
    "RepositoryModelUnload": _unload,
    "SystemSharedMemoryStatus": _shared_memory_status,
    "SystemSharedMemoryRegister": _register_shared_memory,
    "SystemSharedMemoryUnregister": _unregister_shared_memory,
    "CudaSharedMemoryStatus": _no_gpu_memory,
    "CudaSharedMemoryRegister": _register_gpu_memory,
    "CudaSharedMemoryUnregister": _no_gpu_memory,
}
