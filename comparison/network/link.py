"""The link between the two hosts: the wire's process, the settings and counters that it shares with the lab."""

from __future__ import annotations

import contextlib
import mmap
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from crossover.comparison.network.profiles import Profile

HERE_ADDRESS, THERE_ADDRESS = "198.18.77.1", "198.18.77.2"
"""Addresses for tests between hosts (RFC 2544): the gateway's host and the model server's."""
CONGESTION_CONTROL = "cubic"
_SOURCE = Path(__file__).with_name("wire.c")
_INTERFACE = "hop"
_IDLE_RESTARTS = "/proc/sys/net/ipv4/tcp_slow_start_after_idle"
_SETTINGS = ("delay_ns", "jitter_ns", "loss_ppb", "bytes_per_s", "queue_ns", "seed")
_COUNTERS = ("packets", "bytes", "lost", "overflowed")
_LATE_BUCKETS = 4096
_DIRECTION = len(_SETTINGS) + len(_COUNTERS) + _LATE_BUCKETS
_READY_SECONDS = 5


class LinkError(RuntimeError):
    """No link can be made here, in one sentence."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What went over the link so far, both ways together."""

    packets: int
    bytes: int
    """With the headers of IP and TCP."""
    lost: int
    """Packets lost because the profile loses some."""
    overflowed: int
    """Packets dropped because the queue before the profile's rate was full."""
    late_us: np.ndarray
    """int64 [4096]: packets by whole µs that they left after their time; the last counts all above."""

    def since(self, earlier: Counters) -> Counters:
        return Counters(
            self.packets - earlier.packets,
            self.bytes - earlier.bytes,
            self.lost - earlier.lost,
            self.overflowed - earlier.overflowed,
            self.late_us - earlier.late_us,
        )

    def late_percentile_us(self, p: float) -> float:
        """The lateness that a share `p` of the packets does not exceed, µs; 0 when there were none."""
        total = self.late_us.sum()
        return float(np.searchsorted(np.cumsum(self.late_us), p * total)) if total else 0.0


class Link:
    """Two hosts and the wire between them; this process is on the first one (see `hosts`)."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="crossover-wire-")
        folder = Path(self._scratch.name)
        shared = folder / "shared"
        shared.write_bytes(bytes(2 * _DIRECTION * 8))
        with shared.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._idle_restarts = True
        """As a new network namespace has it."""
        self._values = np.frombuffer(self._map, np.int64).reshape(2, _DIRECTION)
        try:
            self._process = _started(_built(folder), shared)
        except BaseException:
            self._clean()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def into_other_host(self) -> list[str]:
        """What stands before a command that is to run on the other host."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--"]

    def use(self, profile: Profile, correction_ms: float, seed: int) -> None:
        """Be `profile` from the next packet on; `correction_ms` is taken off each one-way delay."""
        delay_ns = max(0, round((profile.round_trip_ms / 2 - correction_ms) * 1e6))
        for way, mbit in enumerate((profile.to_model_server_mbit, profile.to_gateway_mbit)):
            values = (
                delay_ns, round(profile.jitter_ms * 1e6), round(profile.loss * 1e9), round(mbit * 1e6 / 8),
                round(profile.queue_ms * 1e6), seed + way,
            )  # fmt: skip
            self._values[way, : len(values)] = values
        if profile.idle_restarts != self._idle_restarts:
            self._restart_idle(profile.idle_restarts)

    def _restart_idle(self, restarts: bool) -> None:
        """Whether idle connections of both hosts start slowly again; LinkError where that cannot be set."""
        command = ["sh", "-c", f"echo {int(restarts)} > {_IDLE_RESTARTS}"]
        for host in ([], self.into_other_host):
            done = subprocess.run([*host, *command], capture_output=True, text=True, check=False)
            if done.returncode:
                raise LinkError(f"{_IDLE_RESTARTS} cannot be set: {_last_line(done.stderr)}")
        self._idle_restarts = restarts

    def counters(self) -> Counters:
        both = self._values.sum(axis=0)
        at = len(_SETTINGS)
        packets, carried, lost, overflowed = (int(value) for value in both[at : at + len(_COUNTERS)])
        return Counters(packets, carried, lost, overflowed, both[at + len(_COUNTERS) :].copy())

    def dead(self) -> bool:
        return self._process.poll() is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        self._process.kill()
        self._process.wait()
        self._clean()

    def _clean(self) -> None:
        del self._values
        with contextlib.suppress(BufferError):  # counters that somebody still holds keep the mapping alive
            self._map.close()
        self._scratch.cleanup()


def _built(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise LinkError("the wire between the hosts needs a C compiler, and none was found")
    if shutil.which("nsenter") is None:
        raise LinkError("the hosts need nsenter (package util-linux), and it was not found")
    program = folder / "wire"
    done = subprocess.run(
        [compiler, "-O2", "-std=c11", str(_SOURCE), "-o", str(program)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LinkError(f"the wire between the hosts could not be compiled: {_last_line(done.stderr)}")
    return program


def _started(program: Path, shared: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [program, shared, _INTERFACE, HERE_ADDRESS, THERE_ADDRESS, CONGESTION_CONTROL],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    if process.stdout.readline().strip() != "ready":
        reason = _last_line(process.stderr.read())
        process.wait(_READY_SECONDS)
        raise LinkError(f"the wire between the hosts cannot be made: {reason or 'it ended at once'}")
    return process


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
