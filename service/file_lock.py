"""One lock between processes: the system takes it from a process when that ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def held(path: Path, how: int = fcntl.LOCK_EX, flags: int = os.O_CREAT | os.O_RDWR) -> Iterator[None]:
    """Hold flock(2) of the file, which is made where there is none; with LOCK_NB, BlockingIOError when another one has it.

    `flags`: without O_CREAT a file that is not there is FileNotFoundError; a folder is opened with O_RDONLY.
    """
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, how)
        yield
    finally:
        os.close(fd)
