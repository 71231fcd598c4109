"""The load generator as a process of its own, so that its work is charged to nobody else, and the handle to it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
from typing import TYPE_CHECKING, Any, Self

from crossover.comparison.load.shared import Receiver, Sender

if TYPE_CHECKING:
    from multiprocessing.connection import Connection as Pipe

    from crossover.comparison.design.outcomes import Record


_NICE, _REALTIME = -10, 1
"""The load comes from elsewhere in real life: where it is allowed, the services do not make it wait for a CPU."""


class GeneratorError(RuntimeError):
    """The load generator failed or is gone, in one sentence."""


class Generator:
    """A fresh process that drives the slices it is given, one after the other.

    `driver` is the text `module:Class` of what drives them: an object with `run(work) -> Record`, `close()`, and `apart`,
    which says whether it is no part of what is measured.
    """

    def __init__(self, driver: str = "crossover.comparison.load.drive:Driver") -> None:
        spawning = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawning.Pipe()
        self._sender = Sender()
        self._process = spawning.Process(target=_serve, args=(theirs, driver), daemon=True, name="load generator")
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def run(self, work: Any) -> Record:
        """Drive `work` and give its record; GeneratorError when the process is gone or failed."""
        try:
            for message in self._sender.messages(work):
                self._pipe.send_bytes(message)
            answer = self._pipe.recv()
        except (EOFError, OSError):
            raise GeneratorError("the load generator's process ended") from None
        if isinstance(answer, str):
            raise GeneratorError(f"the load generator failed: {answer}")
        return answer

    def close(self) -> None:
        self._pipe.close()
        self._process.join(2)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(pipe: Pipe, driver: str) -> None:
    """The process: Ctrl-C is the parent's to handle; the end of the pipe is the end of the work."""
    import importlib

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module, _, name = driver.partition(":")
    worker = getattr(importlib.import_module(module), name)()
    _go_before_services(worker.apart)
    gc.collect()
    gc.freeze()  # what was imported is not walked through again before every slice
    receiver = Receiver()
    try:
        while True:
            work = receiver.read(pipe.recv_bytes())
            if work is None:
                continue
            try:
                answer: Any = worker.run(work)
            except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told
                answer = f"{type(error).__name__}: {error}"
            pipe.send(answer)
    except (EOFError, OSError):
        pass
    finally:
        worker.close()


def _go_before_services(apart: bool) -> None:
    """A load that is no part of what is measured is sent on time whoever runs (SCHED_FIFO); a client is only preferred."""
    if apart:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_REALTIME))
            return
    with contextlib.suppress(PermissionError):
        os.nice(_NICE)
