"""A host of its own for the lab: it runs again inside a new network namespace, where it may make links.

With root's rights that is a network namespace, without them one in a user namespace, where the system allows those.
Nothing is given a name, so nothing is left behind: namespaces and interfaces end with the processes in them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from crossover.comparison.network.link import CONGESTION_CONTROL
from crossover.comparison.network.profiles import LOOPBACK
from crossover.service.agreed import PARENT
from crossover.service.process import stop_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

INSIDE = "CROSSOVER_LAB_HOST"
"""Environment variable of a lab that is on a host of its own."""
_TCP = Path("/proc/sys/net/ipv4")
_ROOT = 0


def should_move(networks: Sequence[str]) -> bool:
    """Whether the lab has to run again on a host of its own for these networks."""
    return any(network != LOOPBACK for network in networks) and INSIDE not in os.environ


def why_not() -> str:
    """Why no host of its own can be had here; empty when it can."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return "network namespaces need Linux and unshare (package util-linux)"
    tried = subprocess.run([*new_host(), "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"no network namespace can be made here ({tried.stderr.strip()})"


def moved(arguments: Sequence[str]) -> int:
    """Run this program with `arguments` on a host of its own; its exit code."""
    environment = {**os.environ, INSIDE: "1", PARENT: str(os.getpid())}
    with _allowed(CONGESTION_CONTROL):
        inner = subprocess.Popen([*new_host(), sys.executable, "-m", "comparison", *arguments], env=environment)
        previous = {
            number: signal.signal(number, _passed_on(inner))
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            return inner.wait()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def arrive() -> None:
    """On a host of its own: end with the program that moved here."""
    if INSIDE in os.environ:
        stop_with_parent()


def new_host() -> list[str]:
    """What stands before a command that is to run on a host of its own."""
    return ["unshare", "--net"] if os.geteuid() == _ROOT else ["unshare", "--user", "--map-root-user", "--net"]


def _passed_on(inner: subprocess.Popen[bytes]) -> Callable[[int, object], None]:
    """SIGTERM and SIGHUP go to the inner program; Ctrl-C has reached it already, since both hear the same terminal."""

    def handle(number: int, _frame: object) -> None:
        if number != signal.SIGINT:
            inner.send_signal(number)

    return handle


@contextlib.contextmanager
def _allowed(name: str) -> Iterator[None]:
    """Let new namespaces choose congestion control `name` for as long as this lasts.

    Only the first namespace can allow that. The list is put back by a process of its own, which notices the end of
    this one however it comes.
    """
    path = _TCP / "tcp_allowed_congestion_control"
    try:
        before = path.read_text().strip()
        known = (_TCP / "tcp_available_congestion_control").read_text().split()
        if name in before.split() or name not in known:
            raise OSError
        path.write_text(f"{before} {name}")
    except OSError:  # allowed already, unknown here, or not ours to change: the link says what it got
        yield
        return
    restoring = subprocess.Popen(
        ["sh", "-c", 'read -r end; printf "%s" "$1" > "$2"', "sh", before, str(path)],
        stdin=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        assert restoring.stdin is not None
        restoring.stdin.close()
        restoring.wait()
