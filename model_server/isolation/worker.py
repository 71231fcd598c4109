"""A worker's life: load one model, then run what comes, one run after the other, until the server is gone."""

from __future__ import annotations

import os
import resource
import socket
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from crossover.model_server.isolation import channel
from crossover.model_server.isolation.channel import Segment
from crossover.model_server.model_error import ModelError
from crossover.model_server.onnx_session import OnnxSession, RunControl
from crossover.model_server.runtime_options import RuntimeOptions
from crossover.protocol.errors import InferenceError
from crossover.service import process


class _Run(RunControl):
    """The run under way, which the other thread may stop."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        self.arm()


def serve(server: socket.socket, inputs: int, outputs: int, stops: int) -> None:
    """Serve until the server closes the socket."""
    process.keep_freed_memory()
    current: list[_Run] = []
    threading.Thread(target=_listen, args=(stops, current), daemon=True).start()
    try:
        session = _load(server)
        if session is not None:
            inbox, outbox = Segment(inputs), Segment(outputs)
            while True:
                channel.send(server, _answer(session, channel.receive(server), inbox, outbox, current))
    except (EOFError, OSError):
        return


def _listen(stops: int, current: list[_Run]) -> None:
    """Stop runs by their numbers, one byte each; a number that is over stops nothing."""
    while number := os.read(stops, 1):
        for run in current[-1:]:
            if run.number & 0xFF == number[0]:
                run.stop()


def _load(server: socket.socket) -> OnnxSession | None:
    path, options = channel.receive(server)
    options["providers"] = tuple(options["providers"])
    try:
        session = OnnxSession(Path(path), RuntimeOptions(**options))
    except ModelError as error:
        channel.send(server, {"error": str(error)})
        return None
    ports = {
        what: [{**asdict(port), "datatype": port.datatype.name} for port in getattr(session, what)]
        for what in ("inputs", "outputs")
    }
    _forget_peak()
    channel.send(server, {**ports, "alone": session.runs_alone, "peak": _peak()})
    return session


def _answer(session: OnnxSession, message: Any, inbox: Segment, outbox: Segment, current: list[_Run]) -> dict[str, Any]:
    number, places, names = message
    run = _Run(number)
    current[:] = [run]
    try:
        outbox.trim()
        tensors = session.run(inbox.read(places, copy=False), names, run)
        answer: dict[str, Any] = {"outputs": outbox.write(tensors)}
    except InferenceError as error:
        answer = {"error": [error.code.name, error.message]}
    current.clear()
    return {**answer, "fed": run.fed, "ran": run.ran, "peak": _peak()}


def _peak() -> int:
    """The most resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _forget_peak() -> None:
    """What loading took for a moment says nothing of the runs (proc(5), clear_refs; where that is not allowed, it counts)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
