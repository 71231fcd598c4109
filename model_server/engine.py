"""The engine: `Inference` over the model repository, in this process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from crossover.model_server.control import CONTROL
from crossover.model_server.execution import Execution, Executor
from crossover.model_server.model import LoadedVersion
from crossover.model_server.repository import Repository
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.messages import InferRequest, InferResponse

if TYPE_CHECKING:
    from crossover.protocol.tensors import Tensor


class Engine(Inference):
    """Runs models. Ready once every model that was found at start is loaded or listed as unavailable."""

    def __init__(self, repository: Repository, executor: Executor) -> None:
        self.repository = repository
        self._executor = executor
        self.draining = False

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        response = self.infer_now(request, context)
        return await self._infer_on_thread(request, context) if response is None else response

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        """See `protocol.inference.Immediate`: the answer of a model that is known to be quick."""
        version = self.repository.resolve(request.model_name, request.model_version)
        if not version.runs_inline(request.inputs):
            return None
        arrived = time.monotonic_ns()
        try:
            execution = Execution(version, request.inputs, version.signature.bind(request), context.deadline)
            made = self._executor.execute_now(execution)
        except BaseException as error:
            self._failed(version, arrived, error)
            raise
        self._succeeded(version, arrived, execution, context)
        return InferResponse(version.name, version.version, made, request.id)

    async def _infer_on_thread(self, request: InferRequest, context: CallContext) -> InferResponse:
        version = self.repository.resolve(request.model_name, request.model_version)
        arrived = time.monotonic_ns()
        version.pending += context.requests
        try:
            execution = Execution(version, request.inputs, version.signature.bind(request), context.deadline)
            made = await self._executor.execute(execution)
        except BaseException as error:
            self._failed(version, arrived, error)
            raise
        finally:
            version.pending -= context.requests
        self._succeeded(version, arrived, execution, context)
        return InferResponse(version.name, version.version, made, request.id)

    def _succeeded(self, version: LoadedVersion, arrived: int, execution: Execution, context: CallContext) -> None:
        if context.timeline is not None:
            context.timeline.stamps["started"] = execution.started
            context.timeline.stamps["finished"] = execution.finished
        statistics = version.statistics
        kind = statistics.kind(_rows(version, execution.inputs), context.requests)
        kind.runs += 1
        kind.queue += execution.started - arrived
        kind.compute_input += execution.fed - execution.started
        kind.compute_infer += execution.ran - execution.fed
        kind.compute_output += execution.finished - execution.ran
        kind.success += execution.finished - arrived
        statistics.last_inference_ms = time.time_ns() // 1_000_000

    def _failed(self, version: LoadedVersion, arrived: int, error: BaseException) -> None:
        version.statistics.fail.add(time.monotonic_ns() - arrived)
        if isinstance(error, InferenceError):
            version.statistics.rejected += error.code in {Code.OVERLOADED, Code.DEADLINE_EXCEEDED}
        else:
            version.statistics.cancelled += 1

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        return await CONTROL[method](self, request)

    async def close(self) -> None:
        await self.repository.close()
        self._executor.close()


def _rows(version: LoadedVersion, inputs: list[Tensor]) -> int:
    """What the statistics count as inferences: rows when there is a batch dimension, else one."""
    return inputs[0].shape[0] if version.signature.max_batch_size and inputs else 1
