"""Small implementations of `Inference` that tests put behind endpoints and look into."""

from __future__ import annotations

import asyncio
from typing import Any

from crossover.protocol.codecs.protobuf.codec import repository_parameters
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference, Wrapper
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protos import inference as pb


class RecordingInference(Inference):
    """Echoes inputs as outputs of the model `echo`, which is all there is, and keeps what it was given."""

    def __init__(self) -> None:
        self.ready = True
        self.requests: list[InferRequest] = []
        self.contexts: list[CallContext] = []
        self.controls: list[tuple] = []
        self.closed = False

    def _known(self, name: str, version: str = "") -> None:
        if name != "echo" or version not in {"", "1"}:
            raise InferenceError(Code.NOT_FOUND, f"Request for unknown model: '{name}' is not found")

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        return self._answer(request, context)

    def _answer(self, request: InferRequest, context: CallContext) -> InferResponse:
        self.requests.append(request)
        self.contexts.append(context)
        self._known(request.model_name, request.model_version)
        context.mark("started")
        context.mark("finished")
        return InferResponse("echo", "1", request.inputs, request.id)

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        if method == "ServerMetadata":
            self.contexts.append(context)
        return getattr(self, f"_{method}")(request)

    def _ServerLive(self, _: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    def _ServerReady(self, _: Any) -> Any:
        return pb.ServerReadyResponse(ready=self.ready)

    def _ModelReady(self, request: Any) -> Any:
        self._known(request.name, request.version)
        return pb.ModelReadyResponse(ready=self.ready)

    def _ServerMetadata(self, _: Any) -> Any:
        return pb.ServerMetadataResponse(name="fake", version="0", extensions=["model_repository"])

    def _ModelMetadata(self, request: Any) -> Any:
        self._known(request.name, request.version)
        tensor = pb.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1])
        return pb.ModelMetadataResponse(name=request.name, versions=["1"], inputs=[tensor], outputs=[tensor])

    def _ModelConfig(self, request: Any) -> Any:
        self._known(request.name, request.version)
        return pb.ModelConfigResponse(config=pb.ModelConfig(name=request.name, max_batch_size=4))

    def _ModelStatistics(self, request: Any) -> Any:
        if request.name:
            self._known(request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[pb.ModelStatistics(name="echo", inference_count=2**40)])

    def _RepositoryIndex(self, request: Any) -> Any:
        self.controls.append(("index", request.ready))
        return pb.RepositoryIndexResponse(models=[pb.RepositoryIndexResponse.ModelIndex(name="echo", state="READY")])

    def _RepositoryModelLoad(self, request: Any) -> Any:
        self.controls.append(("load", request.model_name, repository_parameters(request.parameters)))
        self._known(request.model_name)
        return pb.RepositoryModelLoadResponse()

    def _RepositoryModelUnload(self, request: Any) -> Any:
        self.controls.append(("unload", request.model_name, repository_parameters(request.parameters)))
        self._known(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    async def close(self) -> None:
        self.closed = True


class ImmediateInference(RecordingInference):
    """The same, answering without being awaited; `tasks` are those in which it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[asyncio.Task | None] = []

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse:
        self.tasks.append(asyncio.current_task())
        return self._answer(request, context)


class FailingInference(Wrapper):
    """Every call fails with `error`, whatever kind of exception that is, while `failing` is true."""

    inner: RecordingInference

    def __init__(self, error: Exception | Code) -> None:
        super().__init__(RecordingInference())
        self.failing = True
        self.error = InferenceError(error, f"because of {error.name}, ä") if isinstance(error, Code) else error

    def __getattribute__(self, name: str):
        if name in _CALLS and super().__getattribute__("failing"):
            return super().__getattribute__("_fail")
        return super().__getattribute__(name)

    async def _fail(self, *_: object) -> None:
        raise self.error


class SlowInference(Wrapper):
    """The first calls hang until they are released, or for ever; `started` and `cancelled` count them."""

    inner: RecordingInference

    def __init__(self) -> None:
        super().__init__(RecordingInference())
        self.release = asyncio.Event()
        self.started = asyncio.Semaphore(0)
        self.cancelled = asyncio.Semaphore(0)

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        self.started.release()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.release()
            raise
        return await self.inner.infer(request, context)


_CALLS = frozenset(name for name in vars(Wrapper) if not name.startswith("_")) - {"close"}
