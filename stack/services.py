"""A service of ours as a child process in a session of its own, with free ports where none are given.

Start services from a thread that lives as long as they are to: they stop when it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING

import crossover
from crossover.service.agreed import PARENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
IMPORTED_FROM = Path(crossover.__file__).parent.parent
"""Where `crossover` is found: the checkout, or the environment that a wheel was installed into."""
START_SECONDS = 60.0
_PROBE_SECONDS = 2.0
_NO_DRAIN = {"DRAIN_SECONDS": "0"}
"""No load balancer stands before our children, so they drain only when their environment says so."""


class StartError(Exception):
    """A service did not become ready; the text says why."""


def free_ports(count: int) -> list[int]:
    """Loopback ports that are free now; all are held until all are known, so that they differ."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def _import_path() -> dict[str, str]:
    """So that a child imports this `crossover`, whatever folder it runs in."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(IMPORTED_FROM), os.environ.get("PYTHONPATH"))))}


class ServiceProcess:
    """`python -m crossover.module` with an environment of its own; `pid`, `await_ready`, `stop`, `kill`."""

    def __init__(
        self,
        module: str,
        environment: Mapping[str, str],
        ready: tuple[str, int],
        log: IO[bytes] | int | None = None,
        *,
        arguments: Sequence[str] = (),
        secure: bool = False,
        shown: tuple[str, str] | None = None,
        through: Sequence[str] = (),
        checkout: Path | None = None,
    ) -> None:
        """Start it. `ready` is the host and port that answer for its readiness; `log` gets its output.

        `module` is named below `crossover`; `checkout` is another one of ours whose code is to run, of any age.

        `through` is a command that runs the one after it, somewhere else; it must become that command's process.
        `secure`: that port speaks TLS; `shown` are a certificate and its key for a port that wants to see one.
        """
        self.module = module
        self.ready_at = ready
        self._secure = secure
        self._shown = shown
        self._process = subprocess.Popen(
            [*through, sys.executable, "-m", module if checkout else f"crossover.{module}", *arguments],
            cwd=checkout,
            env={**_NO_DRAIN, **os.environ, **_import_path(), **environment, PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log is not None else None,
            start_new_session=True,
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
        """Whether `/v2/health/ready` answers 200 now.

        A port with TLS that hangs up on us wants a certificate that we don't have; it counts as ready.
        """
        connection = self._connection()
        connected = False
        try:
            connection.connect()
            connected = True
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == 200
        except TimeoutError:
            return False
        except (OSError, http.client.HTTPException):
            return self._secure and connected
        finally:
            connection.close()

    def warm(self) -> None:
        """Ask the gateway for its page's facts: the first request of that kind is slow, and this one is nobody's."""
        connection = self._connection()
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/page/gateway.json")
            connection.getresponse().read()

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
        """Wait for its end, and SIGKILL when that takes longer; the exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        self._process.kill()
        return self._process.wait()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self.ready_at
        if not self._secure:
            return http.client.HTTPConnection(host, port, timeout=_PROBE_SECONDS)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # our own child on this host; nothing is told to it
        if self._shown is not None:
            context.load_cert_chain(*self._shown)
        return http.client.HTTPSConnection(host, port, timeout=_PROBE_SECONDS, context=context)


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
        return f"{self._scheme('MODEL_SERVER')}://127.0.0.1:{self.environment['MODEL_SERVER_HTTP_PORT']}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.environment['MODEL_SERVER_GRPC_PORT']}"

    @property
    def gateway_url(self) -> str:
        return f"{self._scheme('GATEWAY')}://127.0.0.1:{self.environment['GATEWAY_PORT']}"

    def start_model_server(self, module: str = "model_server") -> ServiceProcess:
        return self._service(module, "MODEL_SERVER", "MODEL_SERVER_HTTP_PORT")

    def start_gateway(self) -> ServiceProcess:
        return self._service("rest_gateway", "GATEWAY", "GATEWAY_PORT")

    def await_ready(self) -> None:
        """Return when both are ready; StartError when one is not."""
        for service in (self.model_server, self.gateway):
            service.await_ready()

    def stop(self) -> list[int]:
        """Stop both, the gateway first so that it never asks for what is gone; their exit codes."""
        return [self.gateway.stop(), self.model_server.stop()]

    def _service(self, module: str, prefix: str, port: str) -> ServiceProcess:
        at = ("127.0.0.1", int(self.environment[port]))
        cert, key = (self.environment.get(f"UPSTREAM_TLS_{name}") for name in ("CERT", "KEY"))
        shown = (cert, key) if cert and key else None
        return ServiceProcess(
            module, self.environment, at, self._log, secure=self._scheme(prefix) == "https", shown=shown
        )

    def _scheme(self, prefix: str) -> str:
        return "https" if self.environment.get(f"{prefix}_TLS_CERT") else "http"


@contextlib.contextmanager
def running(environment: Mapping[str, str] | None = None, log: IO[bytes] | int | None = None) -> Iterator[Stack]:
    """A ready stack that is stopped at the end."""
    stack = Stack(environment, log)
    try:
        stack.await_ready()
        yield stack
    finally:
        stack.stop()
