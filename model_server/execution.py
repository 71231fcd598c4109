"""Where a run happens: on a worker thread, or at once on the event loop when it is known to take no time.

Handing a run to a thread and back costs more than a small model's run itself. A run may stay on the loop when its time
follows from the size of its inputs (no control flow, floating-point inputs only) and requests at least as large have
been seen to end within `QUICK_NS` on a worker thread. A slow run on the loop takes the permission back (`quickness.py`).
What counts is the time of the thread itself where the run is all its own: waiting for the interpreter or for a busy CPU
says nothing about the model.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from crossover.model_server.model import LoadedVersion
from crossover.model_server.onnx_session import RunControl
from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.tensors import Tensor

QUICK_NS = 200_000
SLOW_NS = 1_000_000
T = TypeVar("T")


class Execution(RunControl):
    """One run: its inputs, and the stamps of its stations in monotonic nanoseconds."""

    __slots__ = ("deadline", "finished", "inputs", "outputs", "spent", "started", "version")

    def __init__(self, version: LoadedVersion, inputs: list[Tensor], outputs: list[str], until: float) -> None:
        super().__init__()
        self.version = version
        self.inputs = inputs
        self.outputs = outputs
        self.deadline = until
        self.started = 0
        self.finished = 0
        self.spent = 0
        """Nanoseconds that the run took by the version's clock."""

    def run(self) -> list[Tensor]:
        clock = self.version.clock
        self.started, began = time.monotonic_ns(), clock()
        deadline.check(self.deadline, "before the model ran")
        made = self.version.run(self.inputs, self.outputs, self)
        self.finished, self.spent = time.monotonic_ns(), clock() - began
        return made


def _bytes(execution: Execution) -> int:
    return sum([tensor.nbytes for tensor in execution.inputs])


class Executor:
    """Runs executions, at most `workers` at once on threads and `max_queue` waiting for one."""

    def __init__(self, workers: int = 0, max_queue: int = 4096) -> None:
        self._workers = workers or max(2, os.cpu_count() or 2)
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="model")
        self._room = self._workers + max_queue
        self._max_queue = max_queue
        self._pending = 0
        self._awaited: set[Execution] = set()

    def execute_now(self, execution: Execution) -> list[Tensor]:
        """The outputs of a run that is known to be quick: it happens here."""
        made = execution.run()
        if execution.spent > SLOW_NS:
            execution.version.quickness.disappoint(_bytes(execution))
        return made

    async def execute(self, execution: Execution) -> list[Tensor]:
        """The outputs of a run on a worker thread."""
        version = execution.version
        made = await self._on_thread(execution)
        if version.quickness.possible and execution.spent <= QUICK_NS:
            version.quickness.learn(_bytes(execution))
        return made

    async def _on_thread(self, execution: Execution) -> list[Tensor]:
        if self._pending >= self._room:
            raise InferenceError(
                Code.OVERLOADED, f"the queue is full, MODEL_MAX_QUEUE is {self._max_queue}; try again later"
            )
        self._pending += 1
        execution.arm()
        self._awaited.add(execution)
        future = self._pool.submit(execution.run)
        future.add_done_callback(self._leave(asyncio.get_running_loop()))
        try:
            async with asyncio.timeout_at(None if execution.deadline == deadline.NEVER else execution.deadline):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise deadline.exceeded("while the model ran") from None
        finally:
            self._awaited.discard(execution)
            execution.stop()

    def _leave(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def done() -> None:
            self._pending -= 1

        def from_thread(_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(done)

        return from_thread

    def close(self) -> None:
        """Stop what runs at its next operator and drop what waits, so that the process can end."""
        for execution in self._awaited:
            execution.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
