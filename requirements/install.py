"""Install a pinned set into an environment: `python requirements/install.py SET ENVIRONMENT`, as `make` does.

The set `environment` makes the environment itself. With `uv` where it is on PATH, else with pip. It says beforehand what
comes and how large it is, shows how far it is, and ends in one sentence whatever goes wrong. Standard library only: it
runs before anything is installed.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, NamedTuple

HERE = Path(__file__).resolve().parent
INTERRUPTED = 130


class Set(NamedTuple):
    """What a set takes: megabytes to download and seconds with pip on a small machine, both about."""

    megabytes: int
    seconds: int


SETS = {
    "serve": Set(75, 40),
    "lab": Set(140, 60),
    "dev": Set(270, 100),
    "clients": Set(130, 60),
    "models": Set(110, 50),
    "guide": Set(60, 15),
    "postgres": Set(4, 5),
    "otel": Set(3, 10),
    "fuzz": Set(32, 10),
    "deploy": Set(30, 20),
    "arms": Set(25, 15),
    "fleet": Set(60, 20),
    "ray": Set(170, 80),
}
_UNREACHABLE = (
    r"NewConnectionError|ConnectTimeout|Connection (refused|reset)|name resolution|error sending request|dns error|"
    r"Network is unreachable|ProxyError|Read timed out"
)
_REASONS = {
    r"hash(es)? (are|did not|mismatch)|do not match the hashes": "a downloaded file does not have the pinned hash",
    _UNREACHABLE: "the package index cannot be reached; connect to the network, or name a mirror in PIP_INDEX_URL",
    r"No space left on device": "the disk is full",
    r"Could not find a version|No matching distribution": (
        "the package index lacks a pinned version, or none fits this Python and system"
    ),
}


def main(arguments: list[str]) -> int:
    name, environment = arguments
    if name == "environment":
        return _make(environment)
    pins = HERE / f"{name}.txt"
    python = Path(environment) / "bin" / "python"
    count = len(re.findall(r"^[\w.\[\],-]+==", pins.read_text(), re.MULTILINE))
    size = SETS[name]
    uv = shutil.which("uv")
    print(
        f"installing requirements/{name}.txt into {environment} (once): {count} packages, some {size.megabytes} MB, "
        f"about {_duration(5 if uv else size.seconds)}",
        flush=True,
    )
    began = time.monotonic()
    try:
        reason = _with_uv(uv, python, pins) if uv else _with_pip(python, pins, count)
        if reason and uv:
            print(f"uv could not install them ({reason}); trying pip", flush=True)
            reason = _with_pip(python, pins, count)
    except KeyboardInterrupt:
        return _stopped()
    if reason:
        print(f"installing requirements/{name}.txt failed: {reason}", file=sys.stderr)
        return 1
    print(f"installed in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _make(environment: str) -> int:
    """An empty environment, by venv, whose own words are shown where it fails."""
    command = [sys.executable, "-m", "venv", environment]
    print(f"making the environment {environment} (once)", flush=True)
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except KeyboardInterrupt:
        return _stopped()
    except OSError as error:
        done = subprocess.CompletedProcess(command, 1, str(error))
    if done.returncode:
        print(f"{environment} could not be made: {reason_in(done.stdout)}", file=sys.stderr)
    return done.returncode and 1


def _stopped() -> int:
    print("\nstopped; the same command goes on where this ended", file=sys.stderr)
    return INTERRUPTED


def _with_uv(uv: str, python: Path, pins: Path) -> str:
    """Empty when it worked, else the reason."""
    done = subprocess.run(
        [uv, "pip", "install", "--python", python, "--require-hashes", "--quiet", "-r", pins],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else reason_in(done.stdout)


def _with_pip(python: Path, pins: Path, count: int) -> str:
    """Empty when it worked, else the reason. `python -m pip`: scripts of a copied environment lead to the old place."""
    command = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "--require-hashes",
               "--retries", "2", "-r", pins]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        assert pip.stdout is not None
        try:
            printed = _followed(pip.stdout, count)
        except KeyboardInterrupt:
            pip.terminate()
            raise
    return "" if pip.returncode == 0 else reason_in(printed)


def _followed(lines: IO[str], count: int) -> str:
    """All that pip prints, while a terminal sees the package that it is at."""
    printed: list[str] = []
    begun: set[str] = set()
    for line in lines:
        printed.append(line)
        if found := re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.\[\],-]+)", line):
            begun.add(found[1])
            _tell(f"{len(begun)}/{count} {found[1]}")
        elif line.startswith("Installing collected packages"):
            _tell(f"writing {count} packages")
    _tell("")
    return "".join(printed)


def _tell(text: str) -> None:
    if sys.stdout.isatty():
        with contextlib.suppress(OSError):
            sys.stdout.write(f"\r\033[K{text[:78]}")
            sys.stdout.flush()


def reason_in(printed: str) -> str:
    """Why an installer failed, from what it printed: one of the usual reasons, or its own last complaint."""
    for pattern, reason in _REASONS.items():
        if re.search(pattern, printed, re.IGNORECASE):
            return reason
    complaints = [line.strip() for line in printed.splitlines() if re.match(r"\s*(error|×|╰─▶)", line, re.IGNORECASE)]
    last = complaints[-1] if complaints else next(iter(reversed(printed.strip().splitlines())), "it gave no reason")
    return re.sub(r"^(ERROR|error):\s*", "", last)[:300]


def _duration(seconds: int) -> str:
    return f"{seconds} seconds" if seconds < 60 else f"{seconds / 60:.0f} minute{'s' if seconds >= 90 else ''}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
