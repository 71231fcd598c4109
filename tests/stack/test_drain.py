"""A service that is told to stop says so first, and answers whoever has not heard it yet."""

from __future__ import annotations

import http.client
import json
import signal
import time
from pathlib import Path
from typing import Self

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossover.service.agreed import SAME_SIGNAL_SECONDS
from crossover.stack.services import ServiceProcess, free_ports

DRAIN_SECONDS = 3.0
BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}]}).encode()
INFER = "/v2/models/identity/infer"


class Asked:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def __call__(self, path: str, body: bytes | None = None) -> tuple[int, str, bytes]:
        self.connection.request("POST" if body else "GET", path, body)
        reply = self.connection.getresponse()
        return reply.status, (reply.headers["connection"] or ""), reply.read()


@pytest.fixture
def stack(tmp_path):
    """Both services, started one by one; each is stopped at the end."""
    started = []
    ports = dict(zip(("MODEL_SERVER_HTTP_PORT", "MODEL_SERVER_GRPC_PORT", "GATEWAY_PORT"), free_ports(3), strict=True))

    def start(module: str, **settings: str) -> tuple[ServiceProcess, dict[str, int]]:
        name = "GATEWAY_PORT" if module == "rest_gateway" else "MODEL_SERVER_HTTP_PORT"
        environment = {key: str(value) for key, value in ports.items()}
        environment |= {"DATA_DIR": str(tmp_path), "DRAIN_SECONDS": str(DRAIN_SECONDS), **settings}
        service = ServiceProcess(module, environment, ("127.0.0.1", ports[name]))
        started.append(service)
        service.await_ready()
        return service, ports

    yield start
    for service in started[::-1]:
        service.stop()


@pytest.mark.parametrize("module", ["rest_gateway", "model_server"])
def test_sigterm_makes_it_unready_and_it_goes_on_answering(stack, module):
    """Unready at once; every reply ends its connection; new connections are served for the drain time; exit code 0."""
    if module == "rest_gateway":
        stack("model_server")
    service, ports = stack(module)
    port = ports["GATEWAY_PORT" if module == "rest_gateway" else "MODEL_SERVER_HTTP_PORT"]
    with Asked(port) as idle, Asked(port) as busy, Asked(port) as new:
        assert [asked(INFER, BODY)[:2] for asked in (idle, busy)] == [(200, "")] * 2
        began = time.monotonic()
        service.signal(signal.SIGTERM)
        while (reply := new("/v2/health/ready"))[1] != "close":
            assert service.returncode() is None
        status, connection, body = reply
        assert (status, connection, json.loads(body)["ready"]) == (503, "close", False)
        assert busy(INFER, BODY)[:2] == (200, "close")
        assert new(INFER, BODY)[:2] == (200, "close")
        assert new("/v2/health/live")[0] == 200
        assert service.wait(20) == 0
    assert time.monotonic() - began >= DRAIN_SECONDS


@pytest.mark.parametrize("library", ["grpcio", "lean"])
def test_a_draining_grpc_port_is_unready_and_goes_on_answering(stack, library):
    """ServerReady, health and Watch say it; calls on the old connection and on new ones are answered."""
    service, ports = stack("model_server", MODEL_SERVER_GRPC_LIBRARY=library)
    target = f"127.0.0.1:{ports['MODEL_SERVER_GRPC_PORT']}"
    own = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target, own) as old, grpc.insecure_channel(target, own) as new:
        health = health_pb2_grpc.HealthStub(old)
        watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
        service.signal(signal.SIGTERM)
        assert next(watched).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for channel in (old, new):
            stub = health_pb2_grpc.HealthStub(channel)
            assert (
                stub.Check(health_pb2.HealthCheckRequest(), timeout=10).status != health_pb2.HealthCheckResponse.SERVING
            )
            assert stub.Check(health_pb2.HealthCheckRequest(service="identity"), timeout=10).status == 1
    assert service.wait(20) == 0


@pytest.mark.parametrize("hurry", [[signal.SIGINT], [signal.SIGTERM, signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]])
def test_the_drain_can_be_skipped(stack, hurry):
    """Ctrl-C does not drain, and a second signal ends the drain; the exit code is 0."""
    service, _ = stack("model_server", DRAIN_SECONDS="60")
    for i, number in enumerate(hurry):
        if i:
            time.sleep(SAME_SIGNAL_SECONDS + 0.2)
        service.signal(number)
    assert service.wait(20) == 0


@pytest.mark.parametrize(("given", "expected"), [({}, "0"), ({"DRAIN_SECONDS": "3"}, "3")])
def test_children_drain_only_where_their_environment_says_so(monkeypatch, given, expected, free_port):
    """Nobody balances load over what the stack, the tests and the lab start, so a stop of theirs waits for nothing."""
    monkeypatch.delenv("DRAIN_SECONDS", raising=False)
    service = ServiceProcess("model_server", {"MODEL_SERVER_HTTP_PORT": str(free_port), "MODEL_SERVER_GRPC_PORT": "0", **given},
                      ("127.0.0.1", free_port))  # fmt: skip
    try:
        environment = Path(f"/proc/{service.pid}/environ")
        while not (found := environment.read_bytes().strip(b"\0")):  # it is empty until the program is in memory
            time.sleep(0.01)
        assert f"DRAIN_SECONDS={expected}".encode() in found.split(b"\0")
    finally:
        service.kill()
