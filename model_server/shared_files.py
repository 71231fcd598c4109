"""One copy of a model's external data for all workers of a server, so that what they map of it lies in memory once.

A copy is known by where its file is and by the state of that file. It is kept while a worker has it mapped, for those that
load the model later: ONNX Runtime maps external data, and leaves what it does not repack for its kernels (weights of MatMul and
Conv, unless `session.disable_prepacking` says otherwise) where it is.
"""

from __future__ import annotations

import os
import shutil
import time
from hashlib import sha256
from pathlib import Path

from crossover.service.file_lock import held

_PREFIX = "data-"
_LOCK = "data-lock"
_UNSETTLED_SECONDS = 0.1
"""A file that was written a moment ago may be written again without another time."""


class SharedCopies:
    """Copies of files in a folder that all workers have; plain copies where no folder is set."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def copy(self, source: Path, target: Path) -> None:
        """Make `target` a copy of `source`, to be read only; OSError as for any copy."""
        if self.folder is None or not self._linked(self.folder, source, target):
            shutil.copyfile(source, target)

    def opened(self, target: Path) -> None:
        """Give the shared copy up if the model that was opened from `target` does not map it."""
        if self.folder is None or str(target) in Path("/proc/self/maps").read_text():
            return
        with held(self.folder / _LOCK):
            for shared in self.folder.glob(f"{_PREFIX}*"):
                if shared.samefile(target):
                    shared.unlink()

    def _linked(self, folder: Path, source: Path, target: Path) -> bool:
        with held(folder / _LOCK):
            seen = source.stat()
            if time.time() - seen.st_mtime < _UNSETTLED_SECONDS:
                return False
            place = f"{_PREFIX}{sha256(os.fsencode(source.resolve())).hexdigest()[:32]}-"
            shared = folder / (place + "-".join(f"{each:x}" for each in _state(seen)))
            if not shared.exists():
                for older in folder.glob(f"{place}*"):
                    older.unlink()
                unfinished = folder / f".{shared.name}"
                shutil.copyfile(source, unfinished)
                if _state(source.stat()) != _state(seen):
                    unfinished.unlink()
                    return False
                unfinished.replace(shared)
            try:
                target.hardlink_to(shared)
            except OSError:  # another file system, or one without links
                return False
            return True


def _state(seen: os.stat_result) -> tuple[int, ...]:
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns


COPIES = SharedCopies()
"""This process's; a worker sets the folder."""
