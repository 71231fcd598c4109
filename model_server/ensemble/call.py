"""One request through an ensemble: each step runs as soon as its inputs are there, as a request of its own to its model.

So a step is counted, joined, bounded and timed out as any other request of that model is. When one fails the others are
cancelled, and when the caller goes, all are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import pairwise

from crossover.model_server.ensemble.graph import Step
from crossover.model_server.ensemble.version import LoadedEnsemble
from crossover.model_server.queue_policy import PRIORITY, TIMEOUT
from crossover.model_server.served import ServedVersion
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest, InferResponse, RequestedOutput
from crossover.protocol.tensors import Tensor

Answer = Callable[[ServedVersion, InferRequest, CallContext], Awaitable[InferResponse]]
"""The engine's way of running one version."""
_NOT_BEGUN = frozenset({Code.OVERLOADED, Code.UNAVAILABLE})


@dataclass(slots=True)
class Stations:
    """An ensemble's stamps in monotonic ns. What its steps waited and prepared stands in their own statistics."""

    started: int
    fed: int
    ran: int
    finished: int


class EnsembleCall:
    """A request to an ensemble."""

    def __init__(
        self, version: LoadedEnsemble, request: InferRequest, outputs: list[str], context: CallContext, answer: Answer
    ) -> None:
        self._version = version
        self._outputs = outputs
        self._context = CallContext(context.deadline, headers=context.headers)
        self._answer = answer
        self._parameters = {
            name: request.parameters[name] for name in (PRIORITY, TIMEOUT) if name in request.parameters
        }
        self._tensors = {tensor.name: tensor for tensor in request.inputs}
        self._tasks: dict[Step, asyncio.Task[None]] = {}
        self.begun = True
        """Whether a failure is a run's; False where a step was not begun."""
        self.run: Stations | None = None

    async def execute(self) -> list[Tensor]:
        """The outputs; the error of the step that failed first, with the step's name before it."""
        started = time.monotonic_ns()
        steps = self._version.needed(self._outputs)
        if self._is_chain(steps):
            for step in steps:
                await self._perform(step)
        else:
            await self._side_by_side(steps)
        finished = time.monotonic_ns()
        self.run = Stations(started, started, finished, finished)
        return [self._tensors[name] for name in self._outputs]

    def _is_chain(self, steps: list[Step]) -> bool:
        """Whether each step needs the one before it, so that nothing can run at the same time."""
        before = self._version.graph.before
        return all(step in before(other) for step, other in pairwise(steps))

    async def _side_by_side(self, steps: list[Step]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for step in steps:
                    self._tasks[step] = group.create_task(self._when_fed(step))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _when_fed(self, step: Step) -> None:
        before = [self._tasks[earlier] for earlier in self._version.graph.before(step)]
        if before:
            await asyncio.wait(before)
        if all(task.done() and not task.cancelled() and task.exception() is None for task in before):
            await self._perform(step)

    async def _perform(self, step: Step) -> None:
        part = self._version.parts[step]
        try:
            response = await self._answer(part, self._request(step, part), self._context)
        except InferenceError as error:
            self.begun = error.code not in _NOT_BEGUN
            raise InferenceError(error.code, f"{step}: {error.message}", error.retry_after) from error
        for (_, tensor), output in zip(step.outputs, response.outputs, strict=True):
            self._tensors[tensor] = output.renamed(tensor)

    def _request(self, step: Step, part: ServedVersion) -> InferRequest:
        inputs = [self._tensors[tensor].renamed(port) for port, tensor in step.inputs if tensor in self._tensors]
        return InferRequest(
            part.name, inputs, part.version, outputs=[RequestedOutput(port) for port, _ in step.outputs],
            parameters=self._parameters,
        )  # fmt: skip
