"""File descriptors: a process has so many, and connections of clients must leave some for everything else it opens.

The kernel hands out the lowest number that is free, so a connection's own number tells how many are left.
"""

from __future__ import annotations

import resource
from contextlib import suppress

RESERVED = 64
"""Descriptors for connections to other services, databases and models; an eighth where the limit is small."""


def raise_limit() -> None:
    """Take what the operator allows at most (`ulimit -Hn`): 1024, the usual default, is for programs that call select."""
    with suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def is_scarce(number: int) -> bool:
    """Whether a descriptor with this number is one of the last that there are."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most != resource.RLIM_INFINITY and number >= most - min(RESERVED, most // 8)
