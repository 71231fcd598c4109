"""What every service's process does: signals, its parent, and addresses that can't be bound."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from crossover.service import agreed, process
from crossover.service.agreed import PARENT, SAME_SIGNAL_SECONDS, url_host
from crossover.stack.services import ROOT

PROGRAM = """
import asyncio, sys
from crossover.service import process
async def serve(stop):
    print("up", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.sleep(float(sys.argv[1]))
sys.exit(process.run(serve))
"""


@pytest.fixture
def start(root):
    started = []

    def start(work: float, **environment: str) -> subprocess.Popen:
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(work)],
            cwd=root, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.wait(10)
        child.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_service_well(start, number):
    """Each of them means: finish, exit code 0."""
    child = start(0.1)
    assert child.stdout.readline() == "up\n"
    child.send_signal(number)
    assert child.wait(20) == 0
    assert child.stdout.read() == "stopping\n"


def test_the_end_of_the_terminal_is_survived_under_nohup():
    """Who ignores SIGHUP before the service starts wants it to go on."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in agreed.stop_signals()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGHUP in agreed.stop_signals()


def test_the_same_signal_again_at_once_is_one_signal(start):
    """A terminal and make both deliver a Ctrl-C; what is in flight still finishes."""
    child = start(0.5)
    assert child.stdout.readline() == "up\n"
    for _ in range(3):
        child.send_signal(signal.SIGINT)
    assert child.wait(20) == 0


def test_a_second_signal_later_ends_it_at_once(start):
    """Somebody who asks twice does not want to wait."""
    child = start(60)
    assert child.stdout.readline() == "up\n"
    child.send_signal(signal.SIGTERM)
    assert child.stdout.readline() == "stopping\n"
    time.sleep(SAME_SIGNAL_SECONDS + 0.2)
    child.send_signal(signal.SIGTERM)
    assert child.wait(20) == 128 + signal.SIGTERM


def test_a_service_does_not_outlive_its_parent(root):
    """Its parent is killed with no chance to say so; the service still stops."""
    parent = subprocess.Popen(
        [sys.executable, "-c", f"""
import os, subprocess, sys
os.environ["{PARENT}"] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-c", {PROGRAM!r}, "0"], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
child.wait()
"""],
        cwd=root, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    until = time.monotonic() + 20
    while alive(child):
        assert time.monotonic() < until, "the service outlived its parent"
        time.sleep(0.02)


def test_a_parent_that_is_gone_already_stops_it_too(start):
    """The parent may die while the service still imports."""
    child = start(0, **{PARENT: "1"})
    assert child.wait(20) == 0


def alive(pid: int) -> bool:
    """Whether it runs; a zombie that nobody has waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("error", [OSError("no port"), ValueError("no value"), RuntimeError("no app")])
def test_what_prevents_the_start_is_one_line(capsys, error):
    """No traceback; exit code 2."""

    async def serve(_: asyncio.Event) -> None:
        raise error

    assert process.run(serve) == 2
    assert capsys.readouterr().err == f"{error}\n"


def test_an_address_that_cannot_be_bound_names_its_settings():
    """So that one knows what to change."""
    with pytest.raises(OSError, match=r"in use \(set by GATEWAY_HOST and GATEWAY_PORT\)"):
        with process.naming("GATEWAY_HOST", "GATEWAY_PORT"):
            raise OSError("in use")


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("ml.local", "ml.local")],
)
def test_a_host_as_a_url_has_it(host, shown):
    """Wildcards become the loopback address that reaches them."""
    assert url_host(host) == shown


def test_the_access_log_is_heard():
    """Libraries' chatter is kept out of the log, but not the lines that ACCESS_LOG asks for."""
    program = (
        "import logging; from crossover.service import log; log.set_up_log('warning');"
        "[logging.getLogger(name).info('chatter') for name in ('grpc', 'uvicorn')]; logging.getLogger('crossover.access').info('GET /x')"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    ).stderr
    assert "GET /x" in printed
    assert "chatter" not in printed


HEAPS = """
import ctypes, threading
from crossover.service import process

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

process.keep_freed_memory()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
together = threading.Barrier(2)

def use():
    together.wait()
    blocks = [libc.malloc(1 << 20) for _ in range(40)]
    for block in blocks:
        ctypes.memset(block, 1, 1 << 20)
    together.wait()
    for block in blocks:
        libc.free(block)

before = resident()
threads = [threading.Thread(target=use) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
process.give_memory_back()
print((resident() - before) >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heaps")
def test_every_heap_gives_its_end_back(root):
    """What threads freed at the end of a heap goes back to the system, whichever heap it was."""
    done = subprocess.run(
        [sys.executable, "-c", HEAPS], capture_output=True, text=True, timeout=60, cwd=root, check=True
    )
    assert int(done.stdout) < 20, "of 80 MB"
