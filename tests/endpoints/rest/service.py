"""An `Inference` that the tests can look into, and a real REST port in front of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from crossover.endpoints.rest import OipRest, RestListener, RestOptions
from crossover.protocol.codecs.protobuf.codec import repository_parameters
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protos import inference as pb
from crossover.service.metrics import Observer
from crossover.transport.tls import Tls

MODELS = {"echo": [("x", "FP32", [-1, 2])], "odd name/ü:1": [("x", "FP32", [-1])], "one": [("x", "BYTES", [-1])],
          "two": [("a", "FP32", [-1]), ("b", "INT64", [-1])], "matrix": [("x", "FP32", [-1, -1])]}  # fmt: skip


class FakeInference(Inference):
    """Echoes inputs as outputs. The model `fail-CODE` raises that code, `hang` waits for ever, `bug` has one."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.requests: list[InferRequest] = []
        self.contexts: list[CallContext] = []
        self.loads: list[tuple[str, dict]] = []
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.ready = True
        self.outputs = None

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        if request.model_name == "hang":
            self.requests.append(request)
            self.contexts.append(context)
            context.mark("started")
            await self._hang()
        return self._answer(request, context)

    def _answer(self, request: InferRequest, context: CallContext) -> InferResponse:
        self.requests.append(request)
        self.contexts.append(context)
        context.mark("started")
        name = request.model_name
        if name.startswith("fail-"):
            raise InferenceError(
                Code[name.removeprefix("fail-")], f"it was {name}, said 'ü' \"quoted\"\nover two lines"
            )
        if name == "bug":
            raise ValueError("secret of the insides")
        self._known(name)
        context.mark("finished")
        outputs = self.outputs if self.outputs is not None else request.inputs
        return InferResponse(name, request.model_version or "7", outputs, request.id)

    async def _hang(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def _known(self, name: str) -> None:
        if name not in MODELS:
            raise InferenceError(Code.NOT_FOUND, f"there is no model '{name}'")

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        return getattr(self, f"_{method}")(request)

    def _ServerLive(self, _: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    def _ServerReady(self, _: Any) -> Any:
        return pb.ServerReadyResponse(ready=self.ready)

    def _ModelReady(self, request: Any) -> Any:
        self._known(request.name)
        return pb.ModelReadyResponse(ready=self.ready)

    def _ServerMetadata(self, _: Any) -> Any:
        return pb.ServerMetadataResponse(name="fake", version="1", extensions=["binary_tensor_data"])

    def _ModelMetadata(self, request: Any) -> Any:
        self._known(request.name)
        made = pb.ModelMetadataResponse(
            name=request.name, versions=[request.version or "7"], platform="onnxruntime_onnx"
        )
        for input_name, datatype, shape in MODELS[request.name]:
            made.inputs.add(name=input_name, datatype=datatype, shape=shape)
        return made

    def _ModelConfig(self, request: Any) -> Any:
        self._known(request.name)
        config = pb.ModelConfig(name=request.name, max_batch_size=8)
        config.input.add(name="x", data_type=11, dims=[2])
        config.version_policy.latest.num_versions = 1
        return pb.ModelConfigResponse(config=config)

    def _ModelStatistics(self, request: Any) -> Any:
        made = pb.ModelStatisticsResponse()
        for model in [request.name] if request.name else MODELS:
            made.model_stats.add(name=model, version="7", inference_count=2**53 + 1)
        return made

    def _RepositoryIndex(self, request: Any) -> Any:
        made = pb.RepositoryIndexResponse()
        made.models.add(name="echo", version="6", state="READY")
        made.models.add(name="echo", version="7", state="READY")
        if not request.ready:
            made.models.add(name="broken", version="1", state="UNAVAILABLE", reason="its file is cut short")
        return made

    def _RepositoryModelLoad(self, request: Any) -> Any:
        self.loads.append((request.model_name, repository_parameters(request.parameters)))
        return pb.RepositoryModelLoadResponse()

    def _RepositoryModelUnload(self, request: Any) -> Any:
        self.loads.append((request.model_name, repository_parameters(request.parameters)))
        return pb.RepositoryModelUnloadResponse()

    async def close(self) -> None:
        pass


class ImmediateInference(FakeInference):
    """The same, answering without being awaited; the model `hang` has to be waited for."""

    def reset(self) -> None:
        super().reset()
        self.tasks: list[asyncio.Task | None] = []

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        if request.model_name == "hang":
            return None
        self.tasks.append(asyncio.current_task())
        return self._answer(request, context)


class Service:
    """A running port; `url` is its base URL."""

    def __init__(self, inference: FakeInference, observer: Observer, listener: RestListener, secure: bool) -> None:
        self.inference = inference
        self.observer = observer
        self.listener = listener
        self.port = listener.port
        self.url = f"{'https' if secure else 'http'}://{listener.host}:{listener.port}"


@contextlib.asynccontextmanager
async def served(
    options: RestOptions | None = None, *, upstream: str | None = None, fallback=None, tls: Tls | None = None,
    host: str = "127.0.0.1", port: int = 0,
    kind: type[FakeInference] = FakeInference, **of_the_listener,
) -> AsyncIterator[Service]:  # fmt: skip
    inference, observer = kind(), Observer()
    app = OipRest(
        lambda headers: (upstream, inference), settings=options or RestOptions(), observer=observer, fallback=fallback
    )
    listener = RestListener(app, host, port, tls, **of_the_listener)
    await listener.start()
    try:
        yield Service(inference, observer, listener, tls is not None)
    finally:
        await listener.stop(0.3)
