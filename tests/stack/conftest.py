"""`python -m stack` as a user starts it, on free ports, with what it prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from crossover.stack.services import free_ports

START_SECONDS = 60


class Run:
    """One run of `python -m stack`."""

    def __init__(self, root, data, *arguments, **environment):
        self.rest, self.grpc, self.gateway = free_ports(3)
        self.path = data / f"stack-{self.gateway}.log"
        ports = {
            "MODEL_SERVER_HTTP_PORT": str(self.rest),
            "MODEL_SERVER_GRPC_PORT": str(self.grpc),
            "GATEWAY_PORT": str(self.gateway),
        }
        with self.path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stack", *arguments],
                cwd=root,
                env={**os.environ, **ports, "DATA_DIR": str(data), "GATEWAY_UPSTREAM_HEADER": "1", **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        return self.path.read_text("utf-8")

    def await_line(self, pattern: str, count: int = 1) -> str:
        """Wait until `pattern` was printed `count` times; the last match."""
        return self.until(lambda: re.findall(pattern, self.printed)[count - 1 :])[-1]

    def until(self, condition):
        """Poll until `condition` is true; its value."""
        until = time.monotonic() + START_SECONDS
        while not (value := condition()):
            assert time.monotonic() < until, self.printed
            assert self.process.poll() is None, self.printed
            time.sleep(0.05)
        return value

    def await_ready(self) -> Run:
        self.await_line("Ctrl-C stops both")
        return self

    def children(self) -> dict[str, int]:
        """Process ids of the services by module."""
        found = {}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline") as line:
                    parent = int(stat.read().rpartition(")")[2].split()[1])
                    command = line.read().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == self.process.pid and len(command) > 2:
                found[command[2].removeprefix("crossover.")] = pid
        return found

    def ask(self, path: str, body: object = None, **headers: str):
        """Status, headers and JSON of a request to the gateway."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.gateway}{path}",
            data,
            {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.headers, json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.loads(error.read() or b"null")

    def end(self, timeout: float = 30) -> int:
        return self.process.wait(timeout)


@pytest.fixture
def run(root, tmp_path):
    """Start `python -m stack`; everything it left is killed at the end."""
    runs = []

    def start(*arguments, **environment):
        runs.append(Run(root, tmp_path, *arguments, **environment))
        return runs[-1]

    yield start
    for each in runs:
        each.process.kill()
        each.process.wait(10)
