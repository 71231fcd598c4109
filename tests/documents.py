"""Documents whose commands are run: their fenced blocks, a shell that runs these, and `make run` beneath them.

In a document that shows output, a block of another language right after one of `sh` is what that prints, and a block of
`log` is what the terminal of `make run` prints meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from crossover.stack.services import ROOT

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND, LOG = "sh", "log"
_SECONDS = 150
_END = "-- end of the block --"
_VARIES = [
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b", "<id>"),
    (r'"[0-9a-f]{12}-(\d+)"', r'"<etag>-\1"'),
    (r'"[0-9a-f]{24}"', '"<etag>"'),
    (r"\b[0-9a-f]{24}\b", "<request id>"),
    (r"\b\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT", "<date>"),
    (r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d+Z", "<time>"),
    (r"\b\d{2}:\d{2}:\d{2}\b", "<clock>"),
    (r'("score": ?\d\.\d{3})\d+', r"\1"),
    (r"\bdur=[\d.]+", "dur=<ms>"),
    (r"\b[\d,.]+ (us|ms|s)\b", r"<n> \1"),
    (r"\bcurl/[\d.]+", "curl/<version>"),
    (
        r"the deadline (passed (before|while) [\w .:]+|is in <n> s; a run of model '\w+' takes about <n> s)",
        "the deadline passed <where>",  # or would pass: a model whose runs are known is not begun in vain
    ),
    (r"\bpid=\d+,fd=\d+", "pid=<pid>"),
    (r"(127\.0\.0\.1|::1)([: ])\d{5}\b", r"\1\2<port>"),
]
"""What differs between two runs that are the same: ids, validators, dates, times, process ids, callers' ports, a
processor's last digits, and who noticed first that the time was over."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language and its lines, each with its end."""

    language: str
    text: str


def blocks(document: str) -> list[Block]:
    return [Block(*found) for found in FENCED.findall(document)]


def normalised(output: str) -> str:
    for pattern, name in _VARIES:
        output = re.sub(pattern, name, output)
    return output.strip()


@contextlib.contextmanager
def make_run(command: str, log: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """`make run`, ready; its output goes to `log`. At the end Ctrl-C, and exit code 0."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command.split(), cwd=ROOT, stdout=output, stderr=output, start_new_session=True,
            env={**os.environ, **environment},
        )  # fmt: skip
        try:
            await_line(log, "Ctrl-C stops both", process)
            yield log
        finally:
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(_SECONDS) in {0, 2, -signal.SIGINT}, log.read_text()


def await_line(log: Path, line: str, process: subprocess.Popen | None = None) -> None:
    """Return when `log` has the line, apart from what varies; AssertionError when it has not in time."""
    for _ in range(_SECONDS * 10):
        if normalised(line) in normalised(log.read_text()):
            return
        assert process is None or process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"'{line}' is not in\n{log.read_text()}")


class Shell:
    """One bash that runs one block after the other, as a reader's does; `ports` gives other ports to those written."""

    def __init__(self, environment: Mapping[str, str], ports: Mapping[str, str], file: Path) -> None:
        self._ports = dict(ports)
        self._file = file
        self._bash = subprocess.Popen(
            ["bash", "-u"], cwd=ROOT, env={**os.environ, **environment}, start_new_session=True, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._bash.communicate()

    def run(self, command: str) -> str:
        """What the command prints, with the ports of the document."""
        assert self._bash.stdin is not None and self._bash.stdout is not None
        self._file.write_text(_replaced(command, self._ports))
        self._bash.stdin.write(f". {self._file} </dev/null; printf '\\n%s\\n' '{_END}'\n")
        self._bash.stdin.flush()
        lines: list[str] = []
        timer = threading.Timer(_SECONDS, self._end)
        timer.start()
        try:
            for line in self._bash.stdout:
                if line.rstrip() == _END:
                    return _replaced("".join(lines), {theirs: ours for ours, theirs in self._ports.items()}).rstrip()
                lines.append(line)
        finally:
            timer.cancel()
        raise AssertionError(f"bash ended or took longer than {_SECONDS} s at\n{command}\n{''.join(lines)}")

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._bash.pid, signal.SIGKILL)


def _replaced(text: str, names: Mapping[str, str]) -> str:
    return re.sub(rf"(?<![\d.])({'|'.join(names)})(?![\d.]\d)\b", lambda found: names[found[0]], text)
