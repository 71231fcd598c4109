"""Ctrl-C at any moment of a command: one sentence and exit code 130, never a traceback. Imports nothing heavy.

A command has three phases. While its modules are imported nothing has to be cleaned up, so Ctrl-C ends the process on the
spot. While it works, Ctrl-C is Python's KeyboardInterrupt, or what the command itself does with SIGINT. While the
interpreter shuts down, Ctrl-C kills the process without a word.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Main = Callable[[], int]

INTERRUPTED = 130
"""128 + SIGINT, as shells count it."""


def interruptible(load: Callable[[], Main], program: str) -> int:
    """The exit code of the command that `load` imports and returns; `INTERRUPTED` after Ctrl-C.

    A SIGINT that is ignored (nohup, a shell's background job) or that the caller handles stays so.
    """
    previous = signal.getsignal(signal.SIGINT)
    ours = previous is signal.default_int_handler and threading.current_thread() is threading.main_thread()
    if ours:
        signal.signal(signal.SIGINT, _end_at_once(program))
    try:
        work = load()
    finally:
        if ours:
            signal.signal(signal.SIGINT, previous)
    try:
        return work()
    except KeyboardInterrupt:
        print(f"\n{program} was interrupted", file=sys.stderr)
        return INTERRUPTED


def leave(code: int) -> NoReturn:
    """End the program: only the interpreter's own shutdown remains, so Ctrl-C needs no exception any more."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


def _end_at_once(program: str) -> Callable[[int, FrameType | None], None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        os.write(2, f"\n{program} was interrupted\n".encode())
        os._exit(INTERRUPTED)

    return end
