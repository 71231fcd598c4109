"""A service's process beside its serving: its signals, its memory, and one sentence when it can't start."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvloop

from crossover.protocol.errors import InferenceError
from crossover.service import log as log_of_service
from crossover.service.agreed import CANNOT_START, PARENT, SAME_SIGNAL_SECONDS, stop_signals
from crossover.transport import file_descriptors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

log = logging.getLogger("crossover")

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_PR_SET_PDEATHSIG = 1

_HEAPS = 2
_KEPT_BYTES = 64 << 20
"""Free bytes that a heap may have at its end."""
_TOUCHED_BYTES = 128 << 10
"""glibc looks at a heap's end when a block of 64 KiB and more is freed."""


def keep_freed_memory() -> None:
    """Tell glibc not to give large freed buffers back at once.

    It returns every freed block over 128 KiB to the kernel, so that each 600 KB message costs page faults that take
    longer than all other work on it. Threads share two heaps: with one each, the free memory of all heaps adds up, while
    the interpreter's lock leaves them little contention. Elsewhere than on glibc this does nothing.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TOP_PAD, 4 << 20)
        libc.mallopt(_M_ARENA_MAX, _HEAPS)


def give_memory_back() -> None:
    """Return every free page of glibc's heaps to the kernel, which it otherwise does only at a heap's end; blocks for some ms.

    For a moment after which much less is needed, such as a model's end. Elsewhere than on glibc this does nothing.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        _trim_ends(libc)
        libc.malloc_trim(0)


def _trim_ends(libc: ctypes.CDLL) -> None:
    """Trim the end of each heap, which malloc_trim does for the first one only: glibc trims the others when a block is freed there.

    A thread allocates from a heap of its own where there is one; threads that live at the same time are dealt out to all.
    """
    libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = (
        ctypes.c_void_p,
        [ctypes.c_size_t],
        [ctypes.c_void_p],
    )
    together = threading.Barrier(2 * _HEAPS)

    def touch() -> None:
        with suppress(threading.BrokenBarrierError):
            together.wait(1)
        libc.free(libc.malloc(_TOUCHED_BYTES))

    libc.mallopt(_M_TRIM_THRESHOLD, _TOUCHED_BYTES)
    try:
        threads = [threading.Thread(target=touch, daemon=True) for _ in range(2 * _HEAPS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def settle_garbage_collection() -> None:
    """Exclude imported objects from every later collection, and collect less often than after 700 new objects.

    A service's requests make few cycles; walking through the modules again and again finds none.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def stop_with_parent() -> None:
    """Get SIGTERM when the process that `PARENT` names dies, however it dies (Linux).

    The kernel watches the thread that started us; a parent starts its services from a thread that lives on.
    """
    parent = os.environ.pop(PARENT, "")
    if not parent:
        return
    signal_at_parents_end(signal.SIGTERM)
    if os.getppid() != int(parent):
        os.kill(os.getpid(), signal.SIGTERM)


def signal_at_parents_end(number: int) -> None:
    """Have this process get the signal when the thread that started it ends (Linux; elsewhere nothing happens)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


@contextmanager
def naming(*settings: str) -> Iterator[None]:
    """Add to the sentence of an address that can't be bound which settings choose it."""
    try:
        yield
    except OSError as error:
        raise OSError(f"{error} (set by {' and '.join(settings)})") from None


class Stop(asyncio.Event):
    """Set when the service is to stop; `drained` is the time in which it only says so."""

    def __init__(self) -> None:
        super().__init__()
        self._hurried = asyncio.Event()
        self._draining = False

    async def drained(self, seconds: float) -> None:
        """Wait for so long while the service reports unready and goes on answering; `hurry` ends the wait."""
        self._draining = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
        self._draining = False

    def hurry(self) -> bool:
        """Skip or end the drain; False when it is over, so that there is nothing left to skip."""
        draining = self._draining and not self._hurried.is_set()
        self._hurried.set()
        return draining


class StopSignal:
    """The stop signals as one event. SIGTERM and SIGHUP drain; SIGINT, and a second signal, skip that; a third ends the process."""

    def __init__(self) -> None:
        self.event = Stop()
        self._last: tuple[int, float] | None = None

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in stop_signals():
            loop.add_signal_handler(number, self._received, number)

    def _received(self, number: int) -> None:
        now, last = time.monotonic(), self._last
        if last is not None and number == last[0] and now - last[1] < SAME_SIGNAL_SECONDS:
            return
        self._last = (number, now)
        if last is None:
            self.event.set()
            if number == signal.SIGINT:
                self.event.hurry()
        elif not self.event.hurry():
            log.warning("another signal: stopping at once")
            os._exit(128 + number)


_LEFT_BEHIND = threading.Event()


def leave_threads() -> None:
    """Threads of this process will never end; it ends without them, and without tearing down what they use."""
    _LEFT_BEHIND.set()


def run(serve: Callable[[Stop], Awaitable[None]], say: Callable[[str], None] = log_of_service.say) -> int:
    """Run a service until a signal; 0 when it ended well, 2 with one sentence for `say` when it could not start."""
    keep_freed_memory()
    settle_garbage_collection()
    file_descriptors.raise_limit()

    async def main() -> None:
        stop = StopSignal()
        stop.listen()
        stop_with_parent()
        await serve(stop.event)

    try:
        uvloop.run(main())
    except (OSError, ValueError, RuntimeError, InferenceError) as error:
        log.debug("the service could not start", exc_info=error)
        say(str(error))
        return CANNOT_START
    if _LEFT_BEHIND.is_set():
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
    return 0
