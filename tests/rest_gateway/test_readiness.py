"""Whether the gateway is ready is answered within a second or so, whatever the other side does."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from crossover.protocol.wires import WIRES
from crossover.stack.services import ServiceProcess, Stack, free_ports
from tests.rest_gateway.conftest import ask

REMOTE = [name for name, wire in WIRES.items() if wire.kind != "process"]
SLACK_SECONDS = 3.0
"""What a busy machine may add to the 0.8 s that an upstream has."""


def unready(url, upstream):
    """Every question about readiness: 503 with a reason and Retry-After, soon."""
    paths = ("/v2/health/ready", "/v2/models/digits/ready", "/api/models")
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda path: (path, *timed(url, path, upstream)), paths))
    for path, seconds, reply in found:
        assert seconds < SLACK_SECONDS, path
        assert reply.status == 503, (path, reply.body)
        assert int(reply.headers["retry-after"]) >= 1
        document = reply.json()
        if not path.startswith("/api"):
            assert document["ready"] is False
        assert len(document.get("error") or document["detail"]) > 10
    assert ask(url, "GET", "/v2/health/live").status == 200


def timed(url, path, upstream):
    began = time.monotonic()
    reply = ask(url, "GET", path, Inference_Upstream=upstream)
    return time.monotonic() - began, reply


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A gateway whose connections are warm, before a model server that SIGSTOP has stopped."""
    folder = tmp_path_factory.mktemp("stopped")
    with (folder / "log").open("wb") as log:
        stack = Stack({"GATEWAY_UPSTREAM_HEADER": "1", "DATA_DIR": str(folder)}, log)
        try:
            stack.await_ready()
            for upstream in REMOTE:
                assert ask(stack.gateway_url, "GET", "/v2/health/ready", Inference_Upstream=upstream).status == 200
            ask(stack.gateway_url, "GET", "/api")  # the first one imports FastAPI
            stack.model_server.signal(signal.SIGSTOP)
            yield stack.gateway_url
        finally:
            stack.model_server.signal(signal.SIGCONT)
            stack.stop()


@pytest.mark.parametrize("upstream", REMOTE)
def test_a_stopped_model_server_makes_the_gateway_unready(stopped, upstream):
    """Its kernel still takes connections and bytes; nobody answers."""
    unready(stopped, upstream)


@contextlib.contextmanager
def black_hole(*, answers: bytes = b""):
    """A port that takes every connection and says nothing, or `answers`."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take():
            with contextlib.suppress(OSError):
                while True:
                    accepted, _ = listener.accept()
                    held.append(accepted)
                    accepted.sendall(answers)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for each in held:
            each.close()


@pytest.fixture(scope="module", params=[b"", b"SSH-2.0-OpenSSH\r\n"], ids=["says nothing", "speaks something else"])
def lost(request, tmp_path_factory):
    """A gateway before ports behind which nobody is who could answer."""
    folder = tmp_path_factory.mktemp("lost")
    with black_hole(answers=request.param) as port, (folder / "log").open("wb") as log:
        (own,) = free_ports(1)
        environment = {
            "GATEWAY_PORT": str(own), "GATEWAY_UPSTREAM_HEADER": "1", "DATA_DIR": str(folder),
            "GATEWAY_GRPC_TARGET": f"127.0.0.1:{port}", "GATEWAY_REST_TARGET": f"http://127.0.0.1:{port}",
        }  # fmt: skip
        gateway = ServiceProcess("rest_gateway", environment, ("127.0.0.1", own), log)
        try:
            url = f"http://127.0.0.1:{own}"
            until = time.monotonic() + 30
            while True:
                try:
                    ask(url, "GET", "/v2/health/live")
                    break
                except OSError:
                    assert time.monotonic() < until
                    time.sleep(0.05)
            ask(url, "GET", "/api")  # the first one imports FastAPI
            yield url
        finally:
            gateway.stop()


@pytest.mark.parametrize("upstream", REMOTE)
def test_nobody_who_answers_makes_the_gateway_unready(lost, upstream):
    """A black hole, and a port that speaks another protocol."""
    unready(lost, upstream)
