"""One run of a model: for one request, or for several that are joined.

A run may stay on the event loop when its time follows from the size of its inputs (no control flow, floating-point inputs
only) and requests at least as large have been seen to end within `QUICK_NS` on a worker thread: handing a run to a thread
and back costs more than a small model's run itself. A slow run on the loop takes the permission back (`quickness.py`).
What counts is the time of the thread itself where the run is all its own: waiting for the interpreter or for a busy CPU
says nothing about the model.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from crossover.model_server.onnx_session import RunControl
from crossover.model_server.quickness import SUSPECT_RUNS
from crossover.protocol import deadline
from crossover.protocol.deadline import NEVER
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.joining import apart, joined
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from crossover.model_server.model import LoadedVersion
    from crossover.model_server.model_queue import QueuedCall

QUICK_NS = 200_000
SLOW_NS = 1_000_000
Outcome: TypeAlias = "list[Tensor] | BaseException"
_ALONE_INSTEAD = frozenset({Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION})
"""What a joined run may fail with because of one of its requests, or because the model's rows can't be joined."""


class Execution(RunControl):
    """One run: its inputs, and the stamps of its stations in monotonic nanoseconds."""

    __slots__ = ("deadline", "finished", "inputs", "outputs", "spent", "started", "version")

    def __init__(self, version: LoadedVersion, inputs: list[Tensor], outputs: list[str], until: float) -> None:
        self.options, self.stopped, self.fed, self.ran = None, False, 0, 0  # RunControl's
        self.version = version
        self.inputs = inputs
        self.outputs = outputs
        self.deadline = until
        self.started = 0
        self.finished = 0
        self.spent = 0
        """Nanoseconds that the run took by the version's clock, where that was read."""

    def run(self) -> list[Tensor]:
        """On a worker thread."""
        clock = self.version.clock
        began = clock()
        tensors = self._run()
        self.spent = clock() - began
        return tensors

    def run_now(self) -> list[Tensor]:
        """On the event loop, where the run is known to be quick; one that was not takes the permission back.

        The thread's own clock is a system call, which costs a tenth of a small model's run. So the clock on the wall is read,
        and only the runs after one that was slow by it are held against the other.
        """
        quickness = self.version.quickness
        if quickness.suspect:
            quickness.suspect -= 1
            tensors = self.run()
            if self.spent > SLOW_NS:
                quickness.disappoint(self.size)
        else:
            tensors = self._run()
        if self.finished - self.started > SLOW_NS:
            quickness.suspect = SUSPECT_RUNS
        return tensors

    def _run(self) -> list[Tensor]:
        self.started = time.monotonic_ns()
        if self.started >= 1e9 * self.deadline:  # work whose time is over is not started
            raise deadline.exceeded("before the model ran")
        tensors = self.version.run(self.inputs, self.outputs, self)
        self.finished = time.monotonic_ns()
        return tensors

    @property
    def size(self) -> int:
        """Bytes of its inputs."""
        return sum([tensor.nbytes for tensor in self.inputs])


class WorkerRun:
    """What a worker thread does between two looks at the queues: the run of a group of requests of one model."""

    __slots__ = ("_abandoned", "_current", "began", "calls", "done", "expected", "outcomes", "stopped_at", "version")

    def __init__(self, calls: list[QueuedCall], expected: float, now: float) -> None:
        self.calls = calls
        self.version = calls[0].version
        self.expected = expected
        """Seconds."""
        self.began = now
        self.outcomes: list[tuple[QueuedCall, Outcome]] = []
        self.done: list[Execution] = []
        """The runs that ended well."""
        self.stopped_at = NEVER
        """When nobody waited for it any more."""
        self._abandoned = 0
        self._current: Execution | None = None

    def perform(self) -> None:
        """Run; every request gets its outcome, whatever happens to the others. Never raises."""
        if len(self.calls) > 1 and self._together():
            return
        for call in self.calls:
            self._alone(call)

    def _together(self) -> bool:
        """One run for all; False when each has to be run by itself, so that only the guilty one is told."""
        until = max(call.deadline for call in self.calls)
        try:
            inputs = joined([call.inputs for call in self.calls])
            execution, tensors = self._run(inputs, self.calls[0].outputs, until)
            parts = apart(tensors, [call.rows for call in self.calls])
        except InferenceError as error:
            if error.code in _ALONE_INSTEAD and self.stopped_at == NEVER:
                return False
            self._all_failed(error)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the callers, not to this thread
            self._all_failed(error)
        else:
            self.done.append(execution)
            for call, part in zip(self.calls, parts, strict=True):
                call.run = execution
                self.outcomes.append((call, part))
        return True

    def _alone(self, call: QueuedCall) -> None:
        if call.future.done():
            return
        try:
            execution, tensors = self._run(call.inputs, call.outputs, call.deadline)
        except Exception as error:  # noqa: BLE001 - as above
            self.outcomes.append((call, error))
        else:
            self.done.append(execution)
            call.run = execution
            self.outcomes.append((call, tensors))

    def _run(self, inputs: list[Tensor], outputs: list[str], until: float) -> tuple[Execution, list[Tensor]]:
        execution = self._current = Execution(self.version, inputs, outputs, until)
        execution.arm()
        if self.stopped_at != NEVER:
            execution.stop()
        return execution, execution.run()

    def _all_failed(self, error: BaseException) -> None:
        self.outcomes += [
            (
                call,
                InferenceError(error.code, error.message, error.retry_after)
                if isinstance(error, InferenceError)
                else error,
            )
            for call in self.calls
        ]

    def abandon(self) -> None:
        """One caller has gone; when it was the last one, the run is stopped at its next operator."""
        self._abandoned += 1
        if self._abandoned == len(self.calls) and self.stopped_at == NEVER:
            self.stop()

    def stop(self) -> None:
        self.stopped_at = min(self.stopped_at, time.monotonic())
        if self._current is not None:
            self._current.stop()

    def remaining(self, now: float) -> float:
        """Seconds that it is expected to go on; one that takes longer than expected is expected to go on as long again."""
        seconds = self.expected - (now - self.began)
        return seconds if seconds > 0 else max(self.expected / 4, -seconds)
