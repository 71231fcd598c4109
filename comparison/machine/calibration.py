"""What this machine's basic steps take, in a few seconds: why the same services differ in size on another machine.

Each number is the best of many rounds shorter than a time slice, so that other programs disturb it little: a syscall, a context switch
between two processes over a pipe, a copy of memory, reads that miss the caches, a turn of Python bytecode, TLS records.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.machine.certificate import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable

_ROUNDS = 40
_COPIED = 1 << 20
_SCATTERED, _READ = 16 << 20, 20_000
"""Elements of four bytes each, and how many are read."""
_SEALED = 16 << 10
"""Bytes of a TLS record (RFC 8446, 5.1)."""


def calibration() -> dict[str, float]:
    """By what is measured, with its unit in the name."""
    found = {
        "syscall_ns": _best(_syscalls, 1_000),
        "context_switch_ns": _context_switch(200),
        "copy_1mb_us": _best(_copies, 10) / 1000,
        "scattered_read_ns": _scattered_read_ns(),
        "bytecode_ns": _best(_bytecode, 5_000),
        "tls_record_16kb_us": _tls_record_us(),
    }
    return {name: round(value, 3) for name, value in found.items() if value is not None}


def _best(work: Callable[[int], None], count: int) -> float:
    """Nanoseconds of one of `count` steps in the fastest round."""
    work(count)
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter_ns()
        work(count)
        rounds.append(time.perf_counter_ns() - began)
    return min(rounds) / count


def _syscalls(count: int) -> None:
    for _ in range(count):
        os.getppid()


def _copies(count: int) -> None:
    source = memoryview(bytearray(_COPIED))
    target = memoryview(bytearray(_COPIED))
    for _ in range(count):
        target[:] = source


def _scattered_read_ns() -> float:
    """One of many reads in an order that no cache foresees, of more memory than caches hold."""
    memory = np.ones(_SCATTERED, np.int32)
    places = np.random.default_rng(1).integers(0, _SCATTERED, _READ)

    def reads(count: int) -> None:
        for _ in range(count):
            memory.take(places)

    return _best(reads, 1) / _READ


def _bytecode(count: int) -> None:
    value = 0
    for number in range(count):
        value = (value * 31 + number) & 0xFFFF


def _context_switch(count: int) -> float:
    """Half a round trip of one byte between two processes that share a CPU: two of them would measure waking another."""
    there, back = os.pipe(), os.pipe()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    child = os.fork()
    if not child:
        try:
            os.close(there[1])
            while os.read(there[0], 1):
                os.write(back[1], b".")
        finally:
            os._exit(0)
    try:

        def turns(number: int) -> None:
            for _ in range(number):
                os.write(there[1], b".")
                os.read(back[0], 1)

        return _best(turns, count) / 2
    finally:
        os.sched_setaffinity(0, allowed)
        for end in (*there, *back):
            os.close(end)
        os.waitpid(child, 0)


class _TlsRecords:
    """Seals and opens records between two ends in memory, with the cipher that OpenSSL prefers here (TLS 1.3)."""

    def __init__(self, certificate: Path) -> None:
        self._out, self._in = ssl.MemoryBIO(), ssl.MemoryBIO()
        one, other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        one.check_hostname, one.verify_mode = False, ssl.CERT_NONE
        other.load_cert_chain(certificate)
        self._one = one.wrap_bio(self._in, self._out)
        self._other = other.wrap_bio(self._out, self._in, server_side=True)
        for end in (self._one, self._other, self._one, self._other):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
        self._data = bytes(_SEALED)

    def __call__(self, count: int) -> None:
        for _ in range(count):
            self._one.write(self._data)
            self._other.read(_SEALED)


def _tls_record_us() -> float | None:
    """None where the program openssl cannot make a certificate."""
    with tempfile.TemporaryDirectory(prefix="crossover-calibration-") as folder:
        try:
            path = make_certificate(Path(folder))
        except (OSError, subprocess.SubprocessError):
            return None
        return _best(_TlsRecords(path), 20) / 1000
