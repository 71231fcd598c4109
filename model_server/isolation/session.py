"""A loaded model whose runs happen in worker processes: in the place of an `OnnxSession`."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from crossover.model_server.isolation.processes import ModelProcess, ProcessLimits
from crossover.model_server.model_error import ModelError
from crossover.model_server.onnx_session import RunControl
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.tensors import Tensor

log = logging.getLogger("crossover.model_server")

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 5.0
"""Between attempts to start a worker again."""


class _Workers:
    """The workers of one model, and what they need to be started again; ended when nobody has the model any more."""

    def __init__(self, path: Path, options: RuntimeOptions, limits: ProcessLimits, files: ExitStack) -> None:
        self.lock = threading.Lock()
        self.free: list[ModelProcess] = []
        self.live = 0
        self.starting = 0
        self.closed = False
        self.reason = ""
        """Why none could be started at the last attempt."""
        self.changed: Callable[[], None] = lambda: None
        self._start: Callable[[], ModelProcess] = partial(ModelProcess, path, options, limits)
        self._files = files

    def add(self) -> None:
        """Start one more; ModelError when that does not work. Blocks."""
        worker = self._start()
        with self.lock:
            if not self.closed:
                self.live += 1
                self.free.append(worker)
                return
        worker.end()

    def start_one(self) -> None:
        """Start one more in a thread, again and again until that works. The caller holds the lock."""
        self.starting += 1
        threading.Thread(target=self._keep_starting, name="start worker", daemon=True).start()

    def _keep_starting(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self.closed:
            try:
                self.add()
                self.reason = ""
                break
            except (ModelError, OSError, EOFError) as error:
                self.reason = str(error)
                log.warning("a worker process can't be started again: %s", error)
            self.changed()
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        with self.lock:
            self.starting -= 1
        self.changed()

    def close(self) -> None:
        with self.lock:
            self.closed = True
            free, self.free = self.free, []
        for worker in free:
            worker.end()
        self._files.close()


class IsolatedSession:
    """Like `OnnxSession`; `files` holds the model's files for as long as workers may have to be started."""

    def __init__(self, name: str, path: Path, options: RuntimeOptions, limits: ProcessLimits, files: ExitStack) -> None:
        self._name = name
        self._workers = _Workers(path, options, limits, files)
        try:
            self._workers.add()
        except BaseException:
            self._workers.close()
            raise
        first = self._workers.free[0]
        self.inputs, self.outputs, self.runs_alone = first.inputs, first.outputs, first.runs_alone
        self.lost = 0
        """Workers that ended in a run."""
        self._finalizer = weakref.finalize(self, self._workers.close)

    @property
    def live(self) -> int:
        """Workers that there are: as many runs may happen at once."""
        return self._workers.live

    @property
    def unavailable(self) -> str:
        """Why nothing can run now; empty when it can, or will in a moment."""
        return "" if self._workers.live else self._workers.reason

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed`, in any thread, when there are more workers or none could be started."""
        self._workers.changed = changed

    def close(self) -> None:
        """End the workers that have nothing to do; the others end with their runs."""
        self._finalizer()

    def run(self, inputs: list[Tensor], outputs: list[str], control: RunControl) -> list[Tensor]:
        """The outputs; WORKER_LOST when the run ended its worker, which is replaced at once."""
        worker = self._take()
        try:
            tensors = worker.run(inputs, outputs, control)
        except InferenceError as error:
            if error.code is not Code.WORKER_LOST:
                self._give_back(worker)
                raise
            self.lost += 1
            self._replace(worker)
            log.warning("model '%s': %s", self._name, error.message)
            raise InferenceError(error.code, f"model '{self._name}': {error.message}; it is not run again") from None
        except BaseException:
            self._replace(worker)
            raise
        self._give_back(worker)
        return tensors

    def _take(self) -> ModelProcess:
        while True:
            with self._workers.lock:
                if not self._workers.free:
                    raise InferenceError(
                        Code.UNAVAILABLE, "the model's worker process ended and is being started again"
                    )
                worker = self._workers.free.pop()
            if not worker.gone:
                return worker
            self._replace(worker)

    def _give_back(self, worker: ModelProcess) -> None:
        with self._workers.lock:
            if not self._workers.closed:
                self._workers.free.append(worker)
                return
        worker.end()

    def _replace(self, worker: ModelProcess) -> None:
        with self._workers.lock:
            self._workers.live -= 1
            self._workers.start_one()
        worker.end()

    def grow(self, most: int) -> None:
        """One worker more, soon, unless there are `most`: requests wait."""
        with self._workers.lock:
            if self._workers.live + self._workers.starting < most:
                self._workers.start_one()
