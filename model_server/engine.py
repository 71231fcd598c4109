"""The engine: `Inference` over the model repository, in this process."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

from crossover.model_server import shared_memory
from crossover.model_server.control import CONTROL
from crossover.model_server.ensemble.call import EnsembleCall, Stations
from crossover.model_server.ensemble.version import LoadedEnsemble
from crossover.model_server.execution import Execution
from crossover.model_server.executor import Executor
from crossover.model_server.model import LoadedVersion
from crossover.model_server.model_queue import QueuedCall
from crossover.model_server.repository import Repository
from crossover.model_server.response_cache import ResponseCache
from crossover.model_server.served import ServedVersion
from crossover.model_server.shared_memory import Place, SharedMemory
from crossover.model_server.statistics import reason_of
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.messages import InferRequest, InferResponse, SharedTensors
from crossover.protocol.tensors import Tensor
from crossover.protocol.timeline import Timeline
from crossover.service import process
from crossover.transport.off_loop import off_loop


class Engine(Inference):
    """Runs models. Ready once every model that was found at start is loaded or listed as unavailable."""

    def __init__(
        self,
        repository: Repository,
        executor: Executor,
        response_cache_bytes: int = 64 << 20,
        most_shared_bytes: int = 64 << 20,
    ) -> None:
        self.repository = repository
        self.executor = executor
        self.cache = ResponseCache(response_cache_bytes)
        self.shared_memory = SharedMemory(most_shared_bytes)
        repository.on_change = self.cache.retain
        self.draining = False

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        return await self._answer(self.repository.resolve(request.model_name, request.model_version), request, context)

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        """See `protocol.inference.Immediate`: the answer of a model that is known to be quick."""
        version = self.repository.resolve(request.model_name, request.model_version)
        if request.shared is not None or not version.runs_inline(request.inputs):
            return None
        return self._answer_now(version, request, context)

    async def _answer(self, version: ServedVersion, request: InferRequest, context: CallContext) -> InferResponse:
        if request.shared is None and version.runs_inline(request.inputs):
            return self._answer_now(version, request, context)
        return await self._answer_later(version, request, context)

    def _answer_now(self, version: ServedVersion, request: InferRequest, context: CallContext) -> InferResponse:
        assert isinstance(version, LoadedVersion)
        arrived = time.monotonic_ns()
        execution: Execution | None = None
        try:
            execution = Execution(version, request.inputs, version.signature.bind(request), context.deadline)
            tensors = execution.run_now()
            outputs = version.shown(request, tensors) if request.outputs else tensors
        except BaseException as error:
            begun = execution is not None
            version.statistics.failed(time.monotonic_ns() - arrived, reason_of(error, context.deadline, begun=begun))
            raise
        if context.timeline is not None:
            _stamp(context.timeline, execution)
        rows, statistics = version.rows(request.inputs), version.statistics
        statistics.ran(rows, execution)
        statistics.succeeded(arrived, rows, execution)
        return InferResponse(version.name, version.version, outputs, request.id)

    async def _answer_later(self, version: ServedVersion, request: InferRequest, context: CallContext) -> InferResponse:
        arrived = time.monotonic_ns()
        version.pending += 1
        call: QueuedCall | EnsembleCall | None = None
        written: dict[str, Place] = {}
        try:
            if request.shared is not None:
                written = self.shared_memory.places(request.shared.outputs, "output")
                request = await self._with_inputs(request, request.shared)
            outputs = version.signature.bind(request)
            lookup = await self.cache.look_up(version, request.inputs, outputs) if version.caches else None
            if lookup is not None and lookup.found is not None:
                response = await _response_to(written, _response(version, request, lookup.found))
                version.statistics.hit(arrived, lookup.ns)
                return response
            if isinstance(version, LoadedEnsemble):
                call = EnsembleCall(version, request, outputs, context, self._answer)
                tensors = await call.execute()
            else:
                assert isinstance(version, LoadedVersion)
                call = QueuedCall(version, request.inputs, outputs, context.deadline, request.parameters, arrived)
                tensors = await self.executor.execute(call)
            response = await _response_to(written, _response(version, request, tensors))
        except BaseException as error:
            begun = call is not None and call.begun
            version.statistics.failed(time.monotonic_ns() - arrived, reason_of(error, context.deadline, begun=begun))
            raise
        finally:
            version.pending -= 1
        assert isinstance(call.run, Execution | Stations)
        rows = version.rows(request.inputs)
        if isinstance(call.run, Stations):
            version.statistics.ran(rows, call.run)
        if context.timeline is not None:
            _stamp(context.timeline, call.run)
        version.statistics.succeeded(arrived, rows, call.run)
        if lookup is not None:
            self.cache.put(lookup, tensors)
            version.statistics.cache_miss.add(lookup.ns)
        return response

    async def _with_inputs(self, request: InferRequest, shared: SharedTensors) -> InferRequest:
        """The request with the bytes of inputs that lie in shared memory."""
        places = self.shared_memory.places(shared.inputs, "input")
        if not places:
            return request
        size = sum(place.size for place in places.values())
        return replace(request, inputs=await off_loop(size, shared_memory.read, request.inputs, places))

    @property
    def unready_reason(self) -> str | None:
        """Why this server should get no requests now; None when it should."""
        if not self.repository.is_ready:
            return "not every model serves" if self.repository.started else "the model repository is being read"
        return "the server is stopping" if self.draining else self.executor.unready_reason

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        return await CONTROL[method](self, request)

    async def close(self) -> None:
        await self.repository.close()
        if not await asyncio.to_thread(self.executor.close):
            process.leave_threads()
        for version in self.repository.loaded():
            if isinstance(version, LoadedVersion) and version.queue.isolated is not None:
                version.queue.isolated.close()


async def _response_to(places: dict[str, Place], response: InferResponse) -> InferResponse:
    """The response with the outputs that go to shared memory written there."""
    if places:
        size = sum(place.size for place in places.values())
        response.outputs, response.shared = await off_loop(size, shared_memory.write, response.outputs, places)
    return response


def _response(version: ServedVersion, request: InferRequest, tensors: list[Tensor]) -> InferResponse:
    return InferResponse(version.name, version.version, version.shown(request, tensors), request.id)


def _stamp(timeline: Timeline, run: Execution | Stations) -> None:
    timeline.stamps["started"] = run.started
    timeline.stamps["finished"] = run.finished
