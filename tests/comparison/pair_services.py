"""Real services for tests of pairs: the greeters of examples/, and HTTP servers that misbehave in one known way."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import patch

from crossover.comparison.__main__ import main
from tests.programs import called

ROOT = Path(__file__).parents[2]
GREETER = ROOT / "examples" / "greeter"
CALL = "greeter.v1.Greeter/SayHello"
NAME = '{"name": "{{name}}"}'


def free_port(host="127.0.0.1"):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def started(script, listen, *more):
    """A greeter that listens; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, str(GREETER / script), "--listen", listen, *map(str, more)], cwd=GREETER,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await_listening(listen)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait()


def await_listening(listen, seconds=60):
    until = time.monotonic() + seconds
    while True:
        try:
            if listen.startswith("unix:"):
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(listen[5:])
            else:
                host, _, port = listen.rpartition(":")
                socket.create_connection((host.strip("[]"), int(port)), 1).close()
            return
        except OSError:
            assert time.monotonic() < until, f"nothing listens at {listen}"
            time.sleep(0.1)


def asked(*arguments):
    """`pair` in this process, for what ends before anything is measured: a refusal, or a dry run."""
    with patch.object(sys, "argv", ["comparison", "pair", *map(str, arguments)]):
        return called(main, "pair", *arguments)


def pair(*arguments, timeout=300, environment=None):
    """`python -m comparison pair ...` as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "comparison", "pair", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
        timeout=timeout, check=False, env={**os.environ, **(environment or {})},
    )  # fmt: skip


class Http:
    """A server that answers each request with bytes that `answer(number, request)` gives, on connections it may close."""

    def __init__(self, answer, close_after=False):
        self._answer, self._close_after, self._served = answer, close_after, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            while (request := self._read(stream)) is not None:
                self._served += 1
                connection.sendall(self._answer(self._served, request))
                if self._close_after:
                    return

    @staticmethod
    def _read(stream):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return None
            head += line
        length = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head + stream.read(length[0] if length else 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()
