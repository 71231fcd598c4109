"""Restarts behind a load balancer that repeats nothing: no request is lost on any upstream."""

from __future__ import annotations

import http.client
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

from crossover.comparison.torture import attack
from crossover.comparison.torture.promise import Figure, Promise, skipped
from crossover.stack.services import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crossover.comparison.torture.ground import Ground
    from crossover.stack.services import ServiceProcess

DRAIN_SECONDS = "2"
SETTINGS = {"DRAIN_SECONDS": DRAIN_SECONDS}
_PLACES = ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy")
_CONFIGURATION = """
global
    maxconn 2000
defaults
    retries 0
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    timeout check 2s
    default-server check inter 200ms fall 3 rise 2
"""


def haproxy() -> str | None:
    """Where it is; None where it is not installed."""
    return shutil.which("haproxy") or next((path for path in _PLACES if Path(path).exists()), None)


class Fleet:
    """Two gateways and two model servers, each pair behind haproxy, which repeats nothing."""

    def __init__(self, folder: Path, start: Callable[[str, int, Mapping[str, str]], ServiceProcess]) -> None:
        """`start` starts a service by module, port, and settings."""
        self.front, self.rest, self.grpc, *own = free_ports(9)
        self._folder, self._start = folder, start
        gateways, models = own[:2], list(zip(own[2:4], own[4:6], strict=True))
        self._wanted: list[tuple[str, int, dict[str, str]]] = [
            ("model_server", rest, {"MODEL_SERVER_HTTP_PORT": str(rest), "MODEL_SERVER_GRPC_PORT": str(grpc)})
            for rest, grpc in models
        ] + [
            ("rest_gateway", port, {
                "GATEWAY_PORT": str(port), "GATEWAY_UPSTREAM_HEADER": "1", "DATA_DIR": str(folder),
                "GATEWAY_REST_TARGET": f"http://127.0.0.1:{self.rest}", "GATEWAY_GRPC_TARGET": f"127.0.0.1:{self.grpc}",
            })
            for port in gateways
        ]  # fmt: skip
        (folder / "haproxy.cfg").write_text(self._configuration(gateways, models), "ascii")
        self.services: list[ServiceProcess] = []
        self._proxy: subprocess.Popen[bytes] | None = None

    def _configuration(self, gateways: list[int], models: list[tuple[int, int]]) -> str:
        def part(name: str, port: int, mode: str, lines: list[str]) -> str:
            servers = "".join(f"    server s{number} {line}\n" for number, line in enumerate(lines))
            return (
                f"listen {name}\n    bind 127.0.0.1:{port}\n    mode {mode}\n    balance roundrobin\n"
                f"    option httpchk GET /v2/health/ready\n    http-check expect status 200\n{servers}"
            )

        return (
            _CONFIGURATION
            + part("gateways", self.front, "http", [f"127.0.0.1:{port}" for port in gateways])
            + part("rest", self.rest, "http", [f"127.0.0.1:{rest}" for rest, _ in models])
            + part("grpc", self.grpc, "tcp", [f"127.0.0.1:{grpc} check port {rest}" for rest, grpc in models])
        )

    def __enter__(self) -> Self:
        program = haproxy()
        assert program is not None
        self.services = [self._start(*wanted) for wanted in self._wanted]
        with (self._folder / "haproxy.log").open("wb") as log:
            command = [program, "-db", "-f", str(self._folder / "haproxy.cfg")]
            self._proxy = subprocess.Popen(command, stdout=log, stderr=log)
        for service in self.services:
            service.await_ready()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services[::-1]:
            service.stop()
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()

    def restart(self, number: int) -> int:
        """SIGTERM, its end, a new start, and a moment for haproxy to see it; the exit code."""
        self.services[number].signal(signal.SIGTERM)
        code = self.services[number].wait(60)
        self.services[number] = self._start(*self._wanted[number])
        self.services[number].await_ready()
        time.sleep(1)
        return code


class Load:
    """One caller: requests one after the other over a kept-alive connection, each of which has to be answered."""

    def __init__(self, port: int, upstream: str, stopping: threading.Event) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._port, self._upstream, self._stopping = port, upstream, stopping
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stopping.is_set():
            try:
                connection.request("POST", attack.IDENTITY, attack.SMALL, {"Inference-Upstream": self._upstream})
                reply = connection.getresponse()
                body = reply.read()
                if reply.status == 200:
                    self.answered += 1
                else:
                    self.failed.append(f"{reply.status} {body[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
        connection.close()


def _restarts(ground: Ground) -> Figure:
    if haproxy() is None:
        return skipped("haproxy is missing; on Debian it is the package haproxy")
    stopping = threading.Event()
    folder = ground.folder / "fleet"
    folder.mkdir()
    with Fleet(folder, ground.start) as fleet:
        loads = {upstream: Load(fleet.front, upstream, stopping) for upstream in ground.remote or ground.upstreams}
        try:
            time.sleep(0.5)
            codes = Counter(fleet.restart(number) for number in (0, 2))
        finally:
            stopping.set()
            for load in loads.values():
                load.thread.join(60)
    failed = {upstream: float(len(load.failed)) for upstream, load in loads.items()}
    answered = sum(load.answered for load in loads.values())
    named = ", ".join(f"{upstream} {count:.0f}" for upstream, count in failed.items() if count)
    text = f"{sum(failed.values()):.0f} of {answered + sum(failed.values()):.0f} failed{f' ({named})' if named else ''}"
    return Figure(not named and set(codes) == {0}, text, failed)


PROMISES = (
    Promise("drain.restarts", "a model server and a gateway restarted behind haproxy without retries: 0 failed", _restarts),
)  # fmt: skip
