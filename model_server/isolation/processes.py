"""The server's side of a worker process: started by the nursery, watched while it runs, ended when it goes too far."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import crossover
from crossover.model_server.isolation import channel
from crossover.model_server.isolation.channel import Segment
from crossover.model_server.model_error import ModelError
from crossover.model_server.onnx_session import Port, RunControl
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.protocol.datatypes import datatype
from crossover.protocol.errors import Code, InferenceError, PortableError
from crossover.protocol.tensors import Tensor

PATIENCE_SECONDS = 0.5
"""How long a worker may go on with a run that was stopped before it is ended."""
_LOOK_MS = 10
"""How often a worker's memory is looked at while it runs."""
_END_SECONDS = 2.0
_PAGE = os.sysconf("SC_PAGESIZE")


class Nursery:
    """The process that forks workers; started when the first one is needed, and again when it is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def fork(self, fds: list[int]) -> int:
        """The process id of a new worker that has these file descriptors."""
        return int(self._ask("fork", fds))

    def exit_code(self, pid: int) -> int | None:
        """How a worker that is ending ended, negative for a signal; None when that is not known."""
        until = time.monotonic() + _END_SECONDS
        while time.monotonic() < until:
            code = self._ask(pid, [])
            if code is not None:
                return int(code)
            time.sleep(0.001)
        return None

    def _ask(self, request: Any, fds: list[int]) -> Any:
        with self._lock:
            try:
                return self._exchange(request, fds)
            except (EOFError, OSError):
                self._control = None
                return self._exchange(request, fds) if fds else -9  # workers end with their nursery

    def _exchange(self, request: Any, fds: list[int]) -> Any:
        if self._control is None:
            self._control, self._process = _start_nursery()
        socket.send_fds(self._control, [b"."], fds)
        channel.send(self._control, request)
        return channel.receive(self._control)


def _start_nursery() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    paths = [str(Path(crossover.__path__[0]).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OPENBLAS_NUM_THREADS": "1"}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossover.model_server.isolation.nursery", str(theirs.fileno())],
            pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    return ours, process


NURSERY = Nursery()


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """What a worker may take."""

    memory: int = 0
    """Bytes of resident memory above those of the idle worker; 0: any."""
    loading: int = 0
    """The same while the model is loaded."""


class ModelProcess:
    """One worker process with its model. One thread at a time uses it."""

    def __init__(self, path: Path, options: RuntimeOptions, limits: ProcessLimits) -> None:
        """Start it and load the model; ModelError when that does not work. Blocks."""
        self.inputs: list[Port] = []
        self.outputs: list[Port] = []
        self.runs_alone = False
        self._limits = limits
        self._inbox, self._outbox = Segment(), Segment()
        self._number = 0
        self._socket, theirs = socket.socketpair()
        stops, self._stops = os.pipe()
        with theirs:
            self.pid = NURSERY.fork([theirs.fileno(), self._inbox.fd, self._outbox.fd, stops])
        os.close(stops)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        try:
            self._load(path, options)
        except BaseException:
            self.end()
            raise

    def _load(self, path: Path, options: RuntimeOptions) -> None:
        self._idle = self._resident()
        try:
            channel.send(self._socket, [str(path), asdict(options)])
            answer = self._wait(self._limits.loading, None)
        except (EOFError, OSError):
            raise ModelError(f"loading it ended its worker process: {self._how()}") from None
        except _TooMuchMemoryError as error:
            raise ModelError(f"loading it {error}") from None
        if "error" in answer:
            raise ModelError(answer["error"])
        self.inputs, self.outputs = _ports(answer["inputs"]), _ports(answer["outputs"])
        self.runs_alone = answer["alone"]
        self._idle = max(self._resident(), answer["peak"])

    @property
    def gone(self) -> bool:
        """Whether it ended while it had nothing to do."""
        return bool(self._poll.poll(0))

    def run(self, inputs: list[Tensor], outputs: list[str], control: RunControl) -> list[Tensor]:
        """The outputs. WORKER_LOST when the run ended the worker, which is then to be replaced."""
        self._number += 1
        try:
            places = self._inbox.write(inputs)
            channel.send(self._socket, [self._number, places, outputs])
            answer = self._wait(self._limits.memory, control)
            self._inbox.trim()
            if "error" in answer:
                code, text = answer["error"]
                raise InferenceError(Code[code], text)
            if self._limits.memory and answer["peak"] - self._idle > self._limits.memory:
                raise _TooMuchMemoryError(answer["peak"] - self._idle, self._limits.memory)
            control.fed, control.ran = answer["fed"], answer["ran"]
            return self._outbox.read(answer["outputs"], copy=True)
        except (EOFError, OSError):
            raise _lost(f"ended its worker process: {self._how()}") from None
        except _TooMuchMemoryError as error:
            raise _lost(str(error)) from None

    def _wait(self, memory: int, control: RunControl | None) -> Any:
        """The worker's answer; meanwhile its memory and the caller's wish to stop are looked at."""
        stopped_at = 0.0
        while not self._poll.poll(_LOOK_MS):
            if memory and (more := self._resident() - self._idle) > memory:
                raise _TooMuchMemoryError(more, memory)
            if control is None or not control.stopped:
                continue
            if not stopped_at:
                stopped_at = time.monotonic()
                os.write(self._stops, bytes([self._number & 0xFF]))
            elif time.monotonic() - stopped_at > PATIENCE_SECONDS:
                raise _lost("did not stop, so that its worker process was ended")
        return channel.receive(self._socket)

    def _resident(self) -> int:
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE
        except (OSError, IndexError):
            return 0

    def _how(self) -> str:
        code = NURSERY.exit_code(self.pid)
        if code is None or code >= 0:
            return "it ended by itself" if code is None else f"exit code {code}"
        return Signals(-code).name

    def end(self) -> None:
        """End the process, whatever it does; it is gone from the system when this returns, or soon after."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, 9)
        self._socket.close()
        os.close(self._stops)
        self._inbox.close()
        self._outbox.close()


class _TooMuchMemoryError(PortableError):
    def __init__(self, used: int, limit: int) -> None:
        super().__init__(
            f"took {used} bytes of memory, more than MODEL_MEMORY_BYTES ({limit}) allows, so that its worker process was "
            "ended"
        )


def _lost(what: str) -> InferenceError:
    return InferenceError(Code.WORKER_LOST, f"the run {what}")


def _ports(listed: list[dict[str, Any]]) -> list[Port]:
    return [Port(**{**port, "datatype": datatype(port["datatype"]), "shape": tuple(port["shape"])}) for port in listed]
