"""Scratch folders that end with the lab: what a killed lab left is swept by the next one."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_PREFIX = "crossover-lab-"
_NAME = re.compile(rf"{_PREFIX}(\d+)-(\d+)-\w+")


def folder() -> tempfile.TemporaryDirectory[str]:
    """A new folder; its name says whose it is, so that nobody sweeps what another lab still uses."""
    return tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-{_started(os.getpid())}-")


def sweep() -> list[Path]:
    """Remove the folders of labs that live no more: databases, private keys, sockets; the folders that went."""
    found = []
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        match = _NAME.fullmatch(path.name)
        if match is None or path.is_symlink() or _started(int(match[1])) == int(match[2]):
            continue
        if path.stat().st_uid != os.getuid():
            continue
        shutil.rmtree(path, ignore_errors=True)
        found.append(path)
    return found


def _started(pid: int) -> int:
    """When the process started, in ticks since boot (proc(5), stat field 22); 0 when it is gone: ids come again."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])
