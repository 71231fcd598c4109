"""A service of ours as a child process in a session of its own, with free ports where none are given."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1


class StartError(Exception):
    """A service did not become ready; the text says why."""


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now; all are held until all are known, so that they differ."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _end_with_parent() -> None:
    """In the child, before it becomes the service: SIGTERM when the starting process dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Service:
    """`python -m module` with an environment of its own; `pid`, `await_ready`, `stop`, `kill`."""

    def __init__(
        self, module: str, environment: Mapping[str, str], ready: tuple[str, int], log: IO[bytes] | int | None = None
    ) -> None:
        self.module = module
        self.ready_at = ready
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log is not None else None,
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - one call of libc, no lock is taken
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> IO[bytes] | None:
        """What the service writes, when `log` was PIPE."""
        return self._process.stdout

    def returncode(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def is_ready(self) -> bool:
        """Whether `/v2/health/ready` answers 200 now."""
        host, port = self.ready_at
        connection = http.client.HTTPConnection(host, port, timeout=2)
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def await_ready(self, seconds: float = START_SECONDS) -> None:
        """Return when it is ready; StartError when it ends or takes longer."""
        until = time.monotonic() + seconds
        while not self.is_ready():
            if (code := self.returncode()) is not None:
                raise StartError(f"{self.module} ended with exit code {code} before it was ready")
            if time.monotonic() > until:
                raise StartError(f"{self.module} was not ready within {seconds:g} s")
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def stop(self, seconds: float = 15.0) -> int:
        """SIGTERM, wait, and SIGKILL when that takes longer; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        self._process.kill()
        return self._process.wait()


class Stack:
    """A model server and a gateway in front of it, on ports of their own."""

    def __init__(self, environment: Mapping[str, str] | None = None, log: IO[bytes] | int | None = None) -> None:
        rest, grpc, gateway = free_ports(3)
        self.environment = {
            "MODEL_SERVER_HTTP_PORT": str(rest),
            "MODEL_SERVER_GRPC_PORT": str(grpc),
            "GATEWAY_PORT": str(gateway),
            **(environment or {}),
        }
        self._log = log
        self.model_server = self.start_model_server()
        self.gateway = self.start_gateway()

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self.environment['MODEL_SERVER_HTTP_PORT']}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.environment['MODEL_SERVER_GRPC_PORT']}"

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.environment['GATEWAY_PORT']}"

    def start_model_server(self, module: str = "model_server") -> Service:
        port = int(self.environment["MODEL_SERVER_HTTP_PORT"])
        return Service(module, self.environment, ("127.0.0.1", port), self._log)

    def start_gateway(self) -> Service:
        port = int(self.environment["GATEWAY_PORT"])
        return Service("rest_gateway", self.environment, ("127.0.0.1", port), self._log)

    def await_ready(self) -> None:
        for service in (self.model_server, self.gateway):
            service.await_ready()

    def stop(self) -> list[int]:
        """Stop both, the gateway first so that it never asks for what is gone; their exit codes."""
        return [self.gateway.stop(), self.model_server.stop()]


@contextlib.contextmanager
def running(environment: Mapping[str, str] | None = None, log: IO[bytes] | int | None = None) -> Iterator[Stack]:
    """A ready stack that is stopped at the end."""
    stack = Stack(environment, log)
    try:
        stack.await_ready()
        yield stack
    finally:
        stack.stop()
