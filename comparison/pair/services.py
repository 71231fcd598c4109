"""The two services as processes: started for each block, or known by their ids, or neither."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from crossover.comparison.load import http1
from crossover.comparison.load.sockets import Address, opened
from crossover.comparison.machine import cpu
from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.sides import answered, framed, grpc_reply, reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from crossover.comparison.pair.sides import GrpcSide, RestSide

START_SECONDS, STOP_SECONDS = 60.0, 5.0
_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
_END_WITH_PARENT = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
os.execv("/bin/sh", ["/bin/sh", "-c", sys.argv[1]])
"""
"""Becomes the command's shell, which gets SIGTERM when the lab ends, however it ends (PR_SET_PDEATHSIG)."""
_END_WITH_LAB = """
trap '' HUP INT TERM
read -r _ && exit
kill -s TERM -- "-$0"
for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 0.5; kill -s 0 -- "-$0" || exit; done
kill -s KILL -- "-$0"
"""
"""A shell beside the service that ends its process group, as `stop` does, once the lab's end of a pipe is closed without a
word: PR_SET_PDEATHSIG reaches the command's shell alone, and not what that started.
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """How a started service is known to be ready."""

    kind: str
    """`tcp`, `http` or `grpc-health`."""
    path: str = ""


def ready_of(texts: Sequence[str]) -> list[Ready]:
    """What `--ready` says, given once or for each side."""
    found: list[Ready] = []
    for text in texts:
        kind, _, path = text.partition(":")
        if text in {"tcp", "grpc-health"}:
            found.append(Ready(text))
        elif kind == "http" and path.startswith("/"):
            found.append(Ready(kind, path))
        else:
            raise PairError(f"--ready takes tcp, http:PATH or grpc-health; '{text}' is none of them")
    return found


class Started:
    """A service that a command starts in a session of its own; `await_ready`, `pid`, `ended`, `stop`."""

    def __init__(self, name: str, command: str, log: Path, through: Sequence[str] = ()) -> None:
        self.name, self._log = name, log
        with log.open("ab") as file:
            self._begin = file.tell()
            self._process = subprocess.Popen(
                [*through, sys.executable, "-c", _END_WITH_PARENT, command],
                stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", _END_WITH_LAB, str(self._process.pid)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> str | None:
        """What to say when it has ended by itself; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = self.last_words()
        return f"the {self.name} service {how}" + (f"; its last line: {said}" if said else "")

    def last_words(self) -> str:
        """The last line that it wrote since it was started."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(self._begin, file.seek(0, os.SEEK_END) - 4096))
                lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        except OSError:
            return ""
        return lines[-1][:300] if lines else ""

    def await_ready(self, ready: Ready, side: GrpcSide | RestSide, seconds: float = START_SECONDS) -> None:
        """Return when it is ready; PairError when it ends or takes longer."""
        until = time.monotonic() + seconds
        while not is_ready(ready, side):
            if ended := self.ended():
                raise PairError(f"{ended}, before it was ready")
            if time.monotonic() > until:
                said = self.last_words()
                raise PairError(
                    f"the {self.name} service was not ready within {seconds:g} s ({ready.kind} at {side.address})"
                    + (f"; its last line: {said}" if said else "")
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM to all of its process group, and SIGKILL to what is left after some seconds."""
        try:
            self._end()
        finally:
            with contextlib.suppress(OSError):
                self._watch.communicate(b"\n")

    def _end(self) -> None:
        for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
                if not _group_lives(self._process.pid):
                    return


def _group_lives(group: int) -> bool:
    """Whether a process of the group lives a little later: children take a moment to follow their shell."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        time.sleep(0.02)
    return True


def is_ready(ready: Ready, side: GrpcSide | RestSide) -> bool:
    """Whether the service answers now in the way that `ready` asks for."""
    try:
        if ready.kind == "tcp":
            opened(replace(side.address, tls=None), 2.0).close()
            return True
        if ready.kind == "http":
            connection = http1.Connection(side.address, 2.0)
            try:
                request = http1.request_bytes("GET", ready.path, str(side.address), {}, None)
                return 200 <= answered(connection, request, 2.0).status < 300
            finally:
                connection.close()
        return _is_serving(side)
    except (OSError, http.client.HTTPException):
        return False


def _is_serving(side: GrpcSide | RestSide) -> bool:
    from crossover.comparison.pair.sides import GrpcSide

    if not isinstance(side, GrpcSide):
        return True
    connection = side.connect(_HEALTH, 2.0)
    try:
        reply = grpc_reply(answered(connection, framed(b""), 2.0))
        return reply.code == "OK" and reply.messages[:1] == (_SERVING,)
    finally:
        connection.close()


def is_taken(address: Address) -> bool:
    """Whether somebody listens there already."""
    try:
        opened(replace(address, tls=None), 1.0).close()
    except OSError:
        return False
    return True


def check_pid(flag: str, pid: int) -> None:
    """PairError when there is no such process whose CPU time can be read."""
    try:
        cpu.process_cpu_ns(pid)
    except ProcessLookupError:
        raise PairError(f"{flag}: there is no process {pid}") from None
    except PermissionError:
        raise PairError(f"{flag}: the CPU time of process {pid} may not be read") from None


def is_local(address: Address) -> bool:
    """Whether the address is of this host, so that the kernel here counts the service's bytes."""
    if address.path:
        return False
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, kind, _, _, where = found[0]
        with socket.socket(family, kind) as probe:
            probe.bind((where[0], 0))
    except OSError:
        return False
    return True


def unreachable(address: Address, name: str, error: OSError) -> PairError:
    return PairError(f"no connection to the {name} service at {address}: {reason(error)}")
