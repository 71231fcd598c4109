"""grpc.aio's polling thread beside the event loop that it wakes, and that wakes it, several times in every call.

Under Linux's usual policy a thread that wakes up may push aside the one that is running, and the poller pushes aside the
loop in the middle of its work, once for nearly every step of every call. A thread of SCHED_BATCH pushes nobody aside
(sched(7)): it runs where a CPU is free, or as soon as the loop waits, and then finds several steps to tell of at once.

Where other programs keep every CPU busy such a thread waits milliseconds for its turn at each step. The kernel tells how long
a thread waited (schedstat), so the poller is patient for as long as that is short, and no longer.
`CROSSOVER_GRPC_POLLER=system` keeps the default policy.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from crossover.transport.grpcio.release import POLLER

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE, SYSTEM = "CROSSOVER_GRPC_POLLER", "system"
WATCHER = "grpc-poller-watch"

LATE_SECONDS = 0.0005
"""A mean wait beyond this costs more than patience saves; a loop that is busy by itself makes its poller wait 0.01 to 0.16 ms."""
ENOUGH_TURNS = 10
TRIAL_SECONDS, LOOK_SECONDS, IDLE_LOOK_SECONDS = 0.02, 0.1, 1.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 64.0


class Patience:
    """Whether the poller is to be patient, judged by how long it waited for a CPU.

    When its turns come late it is impatient for a pause, then tried again; each late trial doubles the pause, each timely
    look halves it.
    """

    def __init__(self) -> None:
        self.patient = True
        self._pause = FIRST_PAUSE_SECONDS
        self._turns, self._waited = 0, 0.0

    def look(self, turns: int, waited: float) -> float:
        """Judges the `turns` since the last look, which waited `waited` seconds in all; seconds until the next look."""
        if not self.patient:
            self.patient = True
            return TRIAL_SECONDS
        self._turns += turns
        self._waited += waited
        if self._turns < ENOUGH_TURNS:
            return LOOK_SECONDS if turns else IDLE_LOOK_SECONDS
        self.patient = self._waited <= LATE_SECONDS * self._turns
        self._turns, self._waited = 0, 0.0
        if self.patient:
            self._pause = max(self._pause / 2, FIRST_PAUSE_SECONDS)
            return LOOK_SECONDS
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return pause


@contextmanager
def patient_poller() -> Iterator[None]:
    """A poller that starts in here is patient (Linux only). grpc.aio starts it with a process's first channel or server."""
    if os.environ.get(VARIABLE) == SYSTEM or not POLLER.check():
        yield
        return
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if _can_be_watched(thread):
            threading.Thread(target=_watch, args=(thread,), name=WATCHER, daemon=True).start()


def _can_be_watched(thread: threading.Thread) -> bool:
    if sys.platform != "linux" or not _schedstat(thread).exists():
        return False
    return os.sched_getscheduler(thread.native_id or 0) == os.SCHED_OTHER  # whoever chose another policy keeps it


def _watch(thread: threading.Thread) -> None:
    patience, pause = Patience(), TRIAL_SECONDS
    with suppress(OSError):  # the thread has ended
        turns, waited = _waits(thread)
        while thread.is_alive():
            _schedule(thread, patience.patient)
            time.sleep(pause)
            turns_now, waited_now = _waits(thread)
            pause = patience.look(turns_now - turns, waited_now - waited)
            turns, waited = turns_now, waited_now


def _schedule(thread: threading.Thread, patient: bool) -> None:
    if sys.platform == "linux":
        os.sched_setscheduler(thread.native_id or 0, os.SCHED_BATCH if patient else os.SCHED_OTHER, os.sched_param(0))


def _waits(thread: threading.Thread) -> tuple[int, float]:
    """How often the thread was put on a CPU, and how many seconds it waited for that, since it began (sched-stats.rst)."""
    _, waited_ns, turns = map(int, _schedstat(thread).read_text().split())
    return turns, waited_ns / 1e9


def _schedstat(thread: threading.Thread) -> Path:
    return Path(f"/proc/self/task/{thread.native_id}/schedstat")
