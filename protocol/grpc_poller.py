"""grpc.aio's polling thread beside the event loop that it wakes, and that wakes it, several times in every call.

Under Linux's usual policy a thread that wakes up may push aside the one that is running, and the poller pushes aside the
loop in the middle of its work, once for nearly every step of every call. A thread of SCHED_BATCH pushes nobody aside
(sched(7)): it runs where a CPU is free, or as soon as the loop waits, and then finds several steps to tell of at once.

Where other programs keep every CPU busy it waits for its turn at each step, milliseconds each time. So it is patient only
where whoever runs the service asks for that: `CROSSOVER_GRPC_POLLER=patient`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


VARIABLE, PATIENT = "CROSSOVER_GRPC_POLLER", "patient"


@contextmanager
def patient_threads() -> Iterator[None]:
    """Threads that are started in here push nobody aside, where that is asked for: they inherit it (Linux only).

    grpc.aio starts its poller with the first channel or server of a process.
    """
    changed = False
    with suppress(AttributeError, OSError):
        if os.environ.get(VARIABLE) == PATIENT and os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            changed = True
    try:
        yield
    finally:
        if changed:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
