"""Forks the workers of a service, starts one again that dies, and hands on the signals.

The supervisor imports what the workers need and then only waits: a fork of it serves within a moment, and what was imported
lies in memory once. It has no event loop and no gRPC of its own, which must not be there when a process forks.
"""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.service.agreed import CANNOT_START, stop_signals
from crossover.service.file_lock import held
from crossover.service.process import signal_at_parents_end, stop_with_parent
from crossover.service.workers.scrape import bury
from crossover.service.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("crossover.workers")

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 30.0
"""Before a restart; it doubles with every end, and begins anew after a worker has run well for a while."""
RAN_WELL_SECONDS = 10.0
STOP_SLACK_SECONDS = 5.0
"""Seconds that a worker may take to end beyond the configured time."""
_PREFIX, _LOCK = "crossover-workers-", "lock"
_AT_ONCE = fcntl.LOCK_EX | fcntl.LOCK_NB
_LONGEST_BASE = 60
"""The path of a Unix socket has at most 107 bytes."""


@dataclass(slots=True)
class _Place:
    """One worker, over all its starts."""

    index: int
    pid: int | None = None
    started_at: float = 0.0
    starts: int = 0
    pause: float = FIRST_PAUSE_SECONDS
    start_at: float = 0.0


class Supervisor:
    """Runs `count` forks of `work`, which returns a worker's exit code; they may take `stop_seconds` to stop."""

    def __init__(self, count: int, work: Callable[[Worker], int], stop_seconds: float) -> None:
        self._count = count
        self._work = work
        self._stop_seconds = stop_seconds + STOP_SLACK_SECONDS
        self._places = [_Place(index) for index in range(count)]
        self._received: list[int] = []
        self._stopping_since: float | None = None
        self._code = 0

    def run(self) -> int:
        """Until a signal: 0 when all ended well then, 1 when one had to be killed, 2 when they could not start."""
        sys.stdout.flush()
        gc.collect()
        gc.freeze()  # else the first collection of each worker copies the pages of all that was imported
        with _private_folder() as folder, ExitStack() as stack:
            self._folder = folder
            wake = stack.enter_context(_woken(self._received))
            stop_with_parent()
            log.info("%d workers share the ports", self._count)
            while True:
                self._look()
                running = [place for place in self._places if place.pid is not None]
                if self._stopping_since is not None and not running:
                    return self._code
                select.select([wake], [], [], self._until_next())
                with suppress(BlockingIOError):
                    os.read(wake, 4096)

    def _look(self) -> None:
        while self._received:
            self._hand_on(self._received.pop(0))
        self._reap()
        for place in self._places:
            if place.pid is None and self._stopping_since is None and time.monotonic() >= place.start_at:
                self._start(place)
        if self._stopping_since is not None and time.monotonic() - self._stopping_since > self._stop_seconds:
            log.warning("workers that did not stop within %g s are killed", self._stop_seconds)
            self._code, self._stopping_since = 1, time.monotonic()
            self._signal(signal.SIGKILL)

    def _reap(self) -> None:
        """Reap every ended child: as process 1 of a container the supervisor adopts orphans, too."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                for place in self._places:
                    if place.pid == ended[0]:
                        self._has_ended(place, os.waitstatus_to_exitcode(ended[1]))

    def _until_next(self) -> float | None:
        """Seconds until something is due; None: only a signal."""
        if self._stopping_since is not None:
            due = self._stopping_since + self._stop_seconds
        else:
            due = min((place.start_at for place in self._places if place.pid is None), default=0.0)
            if not due:
                return None
        return max(0.0, due - time.monotonic()) + 0.001

    def _hand_on(self, number: int) -> None:
        """All of them leave at the same time; the stop signals' meanings are theirs (service/process.py)."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
        self._signal(number)

    def _signal(self, number: int) -> None:
        for place in self._places:
            if place.pid is not None:
                os.kill(place.pid, number)

    def _has_ended(self, place: _Place, code: int) -> None:
        assert place.pid is not None
        bury(self._folder, place.index, place.pid)
        place.pid = None
        if self._stopping_since is not None:
            if code not in (0, *(-number for number in stop_signals())):
                self._code = self._code or 1
            return
        if code == CANNOT_START and place.starts == 1:
            self._code = CANNOT_START
            self._hand_on(signal.SIGINT)
            return
        now = time.monotonic()
        if now - place.started_at > RAN_WELL_SECONDS:
            place.pause = FIRST_PAUSE_SECONDS
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        log.warning("worker %d ended by %s; another one starts in %g s", place.index, how, place.pause)
        place.start_at = now + place.pause
        place.pause = min(place.pause * 2, LONGEST_PAUSE_SECONDS)

    def _start(self, place: _Place) -> None:
        supervisor = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._become(Worker(place.index, self._count, self._folder, place.starts > 0), supervisor)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals())
        place.pid, place.started_at, place.starts = pid, time.monotonic(), place.starts + 1
        log.info("worker %d is process %d", place.index, pid)

    def _become(self, worker: Worker, supervisor: int) -> None:
        """Be the worker: this never returns. It does not outlive the supervisor, however that ends."""
        code = 1
        try:
            signal_at_parents_end(signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signals = stop_signals()
            for number in signals:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            if os.getppid() == supervisor:
                code = self._work(worker)
        except KeyboardInterrupt:
            code = 0
        except BaseException:  # nothing may get from here to what the supervisor has on its stack
            log.exception("worker %d failed", worker.index)
        finally:
            try:  # a stop signal that comes now may not raise: it would lead to what the supervisor has on its stack
                signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals())
                logging.shutdown()
                sys.stdout.flush()
            finally:
                os._exit(code)


@contextmanager
def _woken(received: list[int]) -> Iterator[int]:
    """A file descriptor that can be read when a signal has come; those that stop a service are appended to `received`."""

    def note(number: int, _: Any) -> None:
        if number != signal.SIGCHLD:
            received.append(number)

    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writing)
    before = {number: signal.signal(number, note) for number in (*stop_signals(), signal.SIGCHLD)}
    try:
        yield reading
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(-1)
        os.close(reading)
        os.close(writing)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A new folder that only this user may enter; removes the folders of supervisors that were killed."""
    usual = tempfile.gettempdir()
    base = usual if len(usual) <= _LONGEST_BASE else "/tmp"  # noqa: S108 - the folder in it is made by mkdtemp
    for old in Path(base).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if old.lstat().st_uid == os.geteuid():
                with held(old / _LOCK, _AT_ONCE, os.O_RDWR):
                    shutil.rmtree(old)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=base, ignore_cleanup_errors=True) as folder,
        held(Path(folder) / _LOCK, _AT_ONCE),
    ):
        yield Path(folder)
