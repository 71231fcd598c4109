"""Restarts behind a load balancer that repeats nothing: no request is lost on any upstream."""

from __future__ import annotations

import http.client
import itertools
import json
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from crossover.protocol.wires import WIRES
from crossover.stack.services import Service, free_ports

BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}]}).encode()
INFER = "/v2/models/identity/infer"
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
PROXY = """
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
UPSTREAMS = [name for name, wire in WIRES.items() if wire.kind != "process"]


class Fleet:
    """Two gateways and two model servers, each pair behind haproxy, which repeats nothing."""

    def __init__(self, folder: Path) -> None:
        self.front, self.rest, self.grpc, *own = free_ports(9)
        self._folder = folder
        self._gateways, models = own[:2], list(zip(own[2:4], own[4:6], strict=True))
        self._environments = [
            ("model_server", rest, {"MODEL_SERVER_HTTP_PORT": str(rest), "MODEL_SERVER_GRPC_PORT": str(grpc)})
            for rest, grpc in models
        ] + [
            ("rest_gateway", port, {
                "GATEWAY_PORT": str(port), "GATEWAY_UPSTREAM_HEADER": "1", "DATA_DIR": str(folder),
                "GATEWAY_REST_TARGET": f"http://127.0.0.1:{self.rest}", "GATEWAY_GRPC_TARGET": f"127.0.0.1:{self.grpc}",
            })
            for port in self._gateways
        ]  # fmt: skip
        (folder / "haproxy.cfg").write_text(self._configuration(models), "ascii")
        self._log = (folder / "log").open("wb")
        self.services: list[Service] = []
        self._proxy: subprocess.Popen | None = None

    def _configuration(self, models: list[tuple[int, int]]) -> str:
        def servers(lines):
            return "".join(f"    server s{number} {line}\n" for number, line in enumerate(lines))

        def part(name, port, mode, lines):
            return (
                f"listen {name}\n    bind 127.0.0.1:{port}\n    mode {mode}\n    balance roundrobin\n"
                f"    option httpchk GET /v2/health/ready\n    http-check expect status 200\n{servers(lines)}"
            )

        return (
            PROXY
            + part("gateways", self.front, "http", [f"127.0.0.1:{port}" for port in self._gateways])
            + part("rest", self.rest, "http", [f"127.0.0.1:{rest}" for rest, _ in models])
            + part("grpc", self.grpc, "tcp", [f"127.0.0.1:{grpc} check port {rest}" for rest, grpc in models])
        )

    def __enter__(self) -> Self:
        self.services = [self._start(number) for number in range(4)]
        self._proxy = subprocess.Popen([HAPROXY, "-db", "-f", str(self._folder / "haproxy.cfg")], stdout=self._log,
                                       stderr=self._log)  # fmt: skip
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
        self._log.close()

    def _start(self, number: int) -> Service:
        module, port, environment = self._environments[number]
        return Service(module, {"DRAIN_SECONDS": "2", **environment}, ("127.0.0.1", port), self._log)

    def restart(self, number: int) -> None:
        """SIGTERM, its end, a new start, and a moment for haproxy to see it."""
        self.services[number].signal(signal.SIGTERM)
        assert self.services[number].wait(60) == 0
        self.services[number] = self._start(number)
        self.services[number].await_ready()
        time.sleep(1)


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
                connection.request("POST", INFER, BODY, {"Inference-Upstream": self._upstream})
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


def restarted_under_load(folder: Path, restarts: list[int], least: int) -> None:
    if not Path(HAPROXY).exists():
        pytest.skip("haproxy is missing; on Debian it is the package haproxy")
    stopping = threading.Event()
    with Fleet(folder) as fleet:
        loads = {upstream: [Load(fleet.front, upstream, stopping) for _ in range(2)] for upstream in UPSTREAMS}
        try:
            for number in restarts:
                fleet.restart(number)
            until = time.monotonic() + 600
            while min(sum(load.answered for load in group) for group in loads.values()) < least:
                assert time.monotonic() < until
                time.sleep(0.1)
        finally:
            stopping.set()
            for load in itertools.chain(*loads.values()):
                load.thread.join(60)
    failed = {upstream: [text for load in group for text in load.failed] for upstream, group in loads.items()}
    answered = {upstream: sum(load.answered for load in group) for upstream, group in loads.items()}
    told = [f"{upstream}: {len(texts)} failed, {texts[:3]}" for upstream, texts in failed.items() if texts]
    assert not told, "\n".join([str(answered), *told])


@pytest.mark.slow
def test_restarts_behind_a_proxy_lose_nothing(tmp_path):
    """Every service restarted once under load on every upstream: no request fails, and nobody repeats one."""
    restarted_under_load(tmp_path, [0, 1, 2, 3], 200)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_ten_restarts_and_twenty_thousand_requests_on_each_upstream_lose_nothing(tmp_path):
    """The same at length."""
    restarted_under_load(tmp_path, [0, 1, 2, 3, 0, 1, 2, 3, 0, 2], 20_000)
