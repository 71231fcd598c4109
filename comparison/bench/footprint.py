"""Memory and start of both services, beside two processes that only import the same libraries: the least that these cost.

Each round starts the floors, then the services, then `make run`, so that all three meet the same minute of the machine.
Modules are compiled once, as a user's are after the first start.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from rich.table import Table

from crossover.comparison.bench.measure import Bench, BenchError
from crossover.comparison.bench.points import POINTS
from crossover.comparison.bench.services import Services
from crossover.comparison.bench.soak import PATHS
from crossover.comparison.machine import cpu
from crossover.comparison.machine.resident import memory_bytes
from crossover.service.idle_memory import IDLE_SECONDS
from crossover.stack.services import ROOT, free_ports
from crossover.stack.settings import PORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LIBRARIES = (
    "numpy, onnxruntime, grpc.aio",
    "fastapi, sqlalchemy.ext.asyncio, alembic.command, pydantic, grpc.aio",
)
"""What the floors import: the model server's libraries and the gateway's."""
LOAD = tuple(name for name in PATHS if POINTS[name].service in {"model server", "gateway"})
_FIRST_CALL = "/api/models/identity/prediction?x=1,2"
_FIRST_SECONDS = 60.0
_LOOK_SECONDS = 0.005
_IDLE_SECONDS = IDLE_SECONDS + 3
"""After which memory that is kept for the next messages has been given back."""
_FLOORS = ("floors_bytes", "floors_cpu_s", "floors_s")


@dataclass(frozen=True, slots=True)
class Found:
    """Of one round."""

    floors_bytes: int
    floors_cpu_s: float
    floors_s: float
    """Until both have imported what they are to."""
    ready_bytes: int
    loaded_bytes: int
    """Right after the load."""
    idle_bytes: int
    """Some idle seconds later."""
    ready_cpu_s: float
    ready_s: float
    """Until both services say that they are ready."""
    first_cpu_s: float
    first_s: float
    """From `make run` to the first answer that a prediction has."""


def measured(log: Path, rounds: int, seconds: float, tell: Callable[[str], None]) -> list[Found]:
    """`seconds` of load on each path, in each round."""
    # a container may set it, and each start would compile everything anew
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    found = []
    for number in range(1, rounds + 1):
        tell(f"round {number}/{rounds}  floors")
        floors_bytes, floors_cpu_s, floors_s = _floors()
        tell(f"round {number}/{rounds}  services")
        ready_bytes, loaded_bytes, idle_bytes, ready_cpu_s, ready_s = _services(log, seconds)
        tell(f"round {number}/{rounds}  make run")
        first_cpu_s, first_s = _make_run(log)
        found.append(Found(
            floors_bytes, floors_cpu_s, floors_s, ready_bytes, loaded_bytes, idle_bytes, ready_cpu_s, ready_s,
            first_cpu_s, first_s,
        ))  # fmt: skip
    return found


def _floors() -> tuple[int, float, float]:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_importing(libraries)) for libraries in LIBRARIES]
        for process in processes:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise BenchError("a process that only imports the libraries failed")
        took, pids = time.monotonic() - began, [process.pid for process in processes]
        return memory_bytes(pids), sum(map(cpu.whole_cpu_s, pids)), took


@contextlib.contextmanager
def _importing(libraries: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has imported them when it prints a line, and waits then."""
    program = f"import {libraries}\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _services(log: Path, seconds: float) -> tuple[int, int, int, float, float]:
    services = Services(log, floors=False, names={"gateway"})
    began = time.monotonic()
    with services:
        pids = services.pids()
        at_ready = memory_bytes(pids)
        bench = Bench(services, seconds)
        try:
            for name in LOAD:
                bench.measured(POINTS[name])
            after_load = memory_bytes(pids)
        finally:
            bench.close()
        time.sleep(_IDLE_SECONDS)
        return at_ready, after_load, memory_bytes(pids), services.ready_cpu_s, services.ready_at - began


def _make_run(log: Path) -> tuple[float, float]:
    """CPU seconds and seconds until `make run` has given its first answer, a prediction of the smallest model."""
    with tempfile.TemporaryDirectory(prefix="crossover-bench-") as folder, log.open("ab") as written:
        ports = free_ports(3)
        chosen = {name.upper(): str(port) for name, port in zip(PORTS, ports, strict=True)}
        environment = {**os.environ, **chosen, "DATA_DIR": folder}
        subprocess.run(["make", ".venv/.serve", "native"], cwd=ROOT, stdout=written, stderr=written, check=True)
        began = time.monotonic()
        with subprocess.Popen(
            ["make", "run"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
        ) as made:
            try:
                _await_answer(ports[-1], made)
                took = time.monotonic() - began
                return cpu.family_whole_cpu_s(made.pid), took
            finally:
                made.send_signal(signal.SIGTERM)


def _await_answer(port: int, made: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _FIRST_SECONDS
    while not _answers(port):
        if made.poll() is not None or time.monotonic() > until:
            raise BenchError(f"`make run` did not answer within {_FIRST_SECONDS:g} s; --log FILE says why")
        time.sleep(_LOOK_SECONDS)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_FIRST_SECONDS)
    try:
        connection.request("GET", _FIRST_CALL)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def table(rounds: Sequence[Found]) -> Table:
    """Medians, and ratios within the rounds."""
    shown = Table(title="Both services beside two processes that only import their libraries", title_justify="left")
    for column in ("", "MB", "of the floors", "CPU s", "of the floors", "s", "of the floors"):
        shown.add_column(column, justify="right" if column else "left")
    shown.add_row("floors: imports only", *_cells(rounds, _FLOORS))
    shown.add_row("gateway and model server, ready", *_cells(rounds, ("ready_bytes", "ready_cpu_s", "ready_s")))
    shown.add_row("the same right after load", *_cells(rounds, ("loaded_bytes", "", "")))
    shown.add_row("the same, idle for some seconds", *_cells(rounds, ("idle_bytes", "", "")))
    shown.add_row("`make run` to the first answer", *_cells(rounds, ("", "first_cpu_s", "first_s")))
    return shown


def _cells(rounds: Sequence[Found], names: tuple[str, str, str]) -> Iterator[str]:
    """Each figure and its ratio to that of the floors."""
    for name, floor in zip(names, _FLOORS, strict=True):
        if not name:
            yield from ("", "")
            continue
        figure = statistics.median(getattr(found, name) for found in rounds)
        ratio = statistics.median(getattr(found, name) / getattr(found, floor) for found in rounds)
        yield f"{figure / 1e6:.0f}" if name.endswith("_bytes") else f"{figure:.2f}"
        yield "" if name == floor else f"{ratio:.2f}"
