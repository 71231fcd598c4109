"""What `make run` starts: up with one command, what it prints works, one signal ends it, a crash is undone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from crossover.service.agreed import SAME_SIGNAL_SECONDS
from crossover.stack.settings import local_address
from crossover.stack.supervisor import FIRST_PAUSE_SECONDS
from tests.stack.conftest import Run

WORK = {
    "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [0.5] * 16},
        {"name": "turns", "datatype": "INT64", "shape": [1], "data": [60_000]},
    ]
}
"""About one second of computation."""


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(scope="module")
def shared(root, tmp_path_factory):
    """A run for the tests that leave it as it was."""
    started = Run(root, tmp_path_factory.mktemp("shared"))
    try:
        yield started.await_ready()
    finally:
        started.process.kill()
        started.process.wait(10)


def is_computing(started):
    """Whether the model server is in the middle of a call."""
    with urllib.request.urlopen(f"http://127.0.0.1:{started.rest}/metrics", timeout=30) as reply:
        return re.search(r'crossover_requests_in_flight\{wire="grpc[^"]*"\} [1-9]', reply.read().decode())


def test_every_command_that_it_prints_works(shared, root):
    """What to try is copied by people, so each line of it is run here as it stands."""
    part = shared.printed.split("Try, in another terminal:")[1].split("Ctrl-C")[0]
    commands = [line.strip() for line in part.splitlines() if line.strip()]
    assert len(commands) == 4
    path = f"{root / '.venv' / 'bin'}{os.pathsep}{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    for command in commands:
        if shutil.which(command.split()[0], path=path) is None and "/" not in command.split()[0]:
            pytest.skip(f"{command.split()[0]} is not installed")
        command = command.replace(".venv/bin/python", sys.executable)
        ended = subprocess.run(
            command, shell=True, cwd=root, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, (command, ended.stderr)
        assert ended.stdout.strip(), command
        assert '"error"' not in ended.stdout, command


def test_services_run_in_sessions_of_their_own(shared):
    """A Ctrl-C of the terminal reaches the one that started them, which passes it on once."""
    children = shared.children()
    assert set(children) == {"model_server", "rest_gateway"}
    sessions = {os.getsid(pid) for pid in children.values()}
    assert sessions == set(children.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_what_is_in_flight_finish(run, number):
    """The request under way is answered, both services end, exit code 0; the signal twice at once is one."""
    started = run().await_ready()
    assert started.ask("/v2/models/work/infer", WORK)[0] == 200
    replies = []
    asking = threading.Thread(target=lambda: replies.append(started.ask("/v2/models/work/infer", WORK)))
    asking.start()
    started.until(lambda: replies or is_computing(started))
    for _ in range(2):
        started.process.send_signal(number)
    assert started.end() == 0, started.printed
    asking.join(10)
    assert [status for status, _, _ in replies] == [200]
    assert len(re.findall("stopped$", started.printed, re.MULTILINE)) == 2
    assert "second signal" not in started.printed


def test_a_second_signal_ends_it_at_once(run):
    """Whoever asks again after a second does not get to wait for the grace period."""
    started = run("--grace-seconds", "60").await_ready()
    long = json.loads(json.dumps(WORK).replace("60000", "6000000"))
    threading.Thread(target=lambda: _ignoring(lambda: started.ask("/v2/models/work/infer", long)), daemon=True).start()
    started.until(lambda: is_computing(started))
    children = started.children()
    started.process.send_signal(signal.SIGINT)
    time.sleep(SAME_SIGNAL_SECONDS + 0.3)
    assert started.process.poll() is None
    started.process.send_signal(signal.SIGINT)
    assert started.end(15) == 1
    assert all(gone(pid) for pid in children.values())


def _imports_packages(pid):
    """Whether Python has come to our code, and that to its first library: before, Ctrl-C is Python's own."""
    with open(f"/proc/{pid}/maps") as maps:
        return "libssl" in maps.read()


def _ignoring(call):
    try:
        call()
    except OSError:
        pass


def test_a_killed_model_server_is_back_by_itself(shared):
    """Until then the gateway says 503 with Retry-After at once, and stored predictions still answer."""
    started = shared
    status, headers, _ = started.ask("/api/predictions", {"model": "identity", "inputs": [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]})  # fmt: skip
    assert status == 201
    stored = headers["Location"]
    os.kill(started.children()["model_server"], signal.SIGKILL)
    started.await_line(r"the model server ended by signal 9; starting it again")
    status, headers, reply = started.ask("/v2/models/identity")
    assert (status, headers["Retry-After"], reply["code"]) == (503, "1", "UNAVAILABLE")
    assert started.ask(re.sub("^https?://[^/]+", "", stored))[0] == 200
    started.until(lambda: started.ask("/v2/models/identity")[0] == 200)


def test_a_service_that_is_stopped_by_hand_stays_stopped(run):
    """SIGTERM to one service is somebody's wish; the other goes on, and how to start it again is said."""
    started = run().await_ready()
    os.kill(started.children()["model_server"], signal.SIGTERM)
    assert "python -m model_server" in started.await_line(r"the model server was stopped; .*")
    time.sleep(FIRST_PAUSE_SECONDS + 0.3)
    assert set(started.children()) == {"rest_gateway"}
    assert started.ask("/v2/health/ready")[0] == 503
    assert started.ask("/openapi.json")[0] == 200


def test_killed_itself_it_leaves_nothing_running(run):
    """kill -9 gives no chance to say goodbye; the services end all the same."""
    started = run().await_ready()
    children = started.children()
    started.process.kill()
    started.process.wait(10)
    until = time.monotonic() + 20
    while not all(gone(pid) for pid in children.values()):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("port", "setting"),
    [("rest", "MODEL_SERVER_HTTP_PORT"), ("grpc", "MODEL_SERVER_GRPC_PORT"), ("gateway", "GATEWAY_PORT")],
)
def test_a_port_in_use_is_one_sentence(run, port, setting):
    """Before anything is started, also where the other listener would let two servers share the port; exit code 2."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        started = run(**{setting: str(taken)})
        assert started.end(60) == 2
    (line,) = started.printed.splitlines()
    assert line.startswith(f"port {taken} of 127.0.0.1 is in use by another program")
    assert setting in line


def test_a_second_one_says_where_the_first_is(run, shared):
    """On the same ports: one sentence with the page's address and what to do, exit code 2; the first goes on."""
    first = shared
    ports = {"GATEWAY_PORT": first.gateway, "MODEL_SERVER_HTTP_PORT": first.rest, "MODEL_SERVER_GRPC_PORT": first.grpc}
    second = run(**{name: str(port) for name, port in ports.items()})
    assert second.end(60) == 2
    (line,) = second.printed.splitlines()
    assert line.startswith(
        f"Crossover is running already: open http://127.0.0.1:{first.gateway}, or stop it with Ctrl-C"
    )
    assert first.ask("/v2/models/digits/ready")[0] == 200


@pytest.mark.parametrize("seconds", [0, 0.3, 1, 2])
def test_ctrl_c_while_it_starts_is_no_traceback(run, seconds):
    """At whatever moment of our code it comes: nothing of Python's insides, and nothing stays running."""
    started = run()
    started.until(lambda: _imports_packages(started.process.pid))
    time.sleep(seconds)
    children = started.children()
    started.process.send_signal(signal.SIGINT)
    assert started.end() in {0, 130}
    assert "Traceback" not in started.printed
    assert "Error" not in started.printed
    assert all(gone(pid) for pid in children.values())


def test_a_class_reaches_the_gateway_alone(run):
    """CLASSROOM=1: the page on every address and this host's name, nothing to load or unload, and the URL for students."""
    started = run(CLASSROOM="1", GATEWAY_REPOSITORY_CONTROL="1", MODEL_UPLOADS="1").await_ready()
    address = local_address()
    assert f"Students, in the same network: http://{address}:{started.gateway}\n" in started.printed
    for host in (f"{address}:{started.gateway}", socket.gethostname()):
        url = f"http://{address}:{started.gateway}/"
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Host": host}), timeout=30) as reply:
            assert reply.status == 200
    for path in ("unload", "load"):
        assert started.ask(f"/v2/repository/models/identity/{path}", {})[0] == 403
    with socket.socket() as probe:
        assert address == "127.0.0.1" or probe.connect_ex((address, started.rest)) != 0


def test_a_missing_repository_is_one_sentence(run):
    """Before anything is started; exit code 2."""
    started = run(MODEL_REPOSITORY="/nonexistent")
    assert started.end() == 2
    assert started.printed == "the model repository '/nonexistent' is not a folder (MODEL_REPOSITORY)\n"


def test_copies_run_side_by_side(run, shared):
    """Two stacks on other ports and the same data folder serve at the same time."""
    second = run(DATA_DIR=str(shared.path.parent)).await_ready()
    for each in (shared, second):
        assert each.ask("/v2/models/digits/ready")[0] == 200


ONE_OF_ITS_KIND_IS_ENOUGH = pytest.mark.slow
"""Of addresses and of wildcards; each starts a stack."""


@pytest.mark.parametrize("host", ["localhost", "::", pytest.param("::1", marks=ONE_OF_ITS_KIND_IS_ENOUGH),
                                  pytest.param("0.0.0.0", marks=ONE_OF_ITS_KIND_IS_ENOUGH)])  # fmt: skip
def test_other_addresses(run, host):
    """IPv6, wildcards and names are bound, and the gateway finds the model server behind them."""
    if ":" in host and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    started = run(MODEL_SERVER_HOST=host).await_ready()
    for upstream in ("grpc", "rest"):
        assert started.ask("/v2/models/digits", Inference_Upstream=upstream)[0] == 200


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False
