"""Ctrl-C before a command has set up its own signals: one sentence, not a traceback. Imports nothing heavy."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

INTERRUPTED = 130
"""128 + SIGINT, as shells count it."""


def interruptible(work: Callable[[], int], program: str) -> int:
    """The exit code of `work`, whose imports belong inside it; `INTERRUPTED` after Ctrl-C."""
    try:
        return work()
    except KeyboardInterrupt:
        print(f"\n{program} was interrupted", file=sys.stderr)
        return INTERRUPTED
