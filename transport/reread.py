"""What files say, read again when they change: certificates and keys are exchanged without a restart."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")
log = logging.getLogger("crossover.files")

LOOK_SECONDS = 1.0
"""How often the files are looked at, at most; nothing looks while nobody asks."""

_Stamp = tuple[int, int, int, int]


class Reread(Generic[T]):
    """`value()` is what the files say now. It may be asked from any thread.

    Files that cannot be used any more leave the last good value in force, with one line in the log for each change.
    """

    def __init__(
        self,
        files: Sequence[Path],
        load: Callable[[], T],
        what: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` raises ValueError, one sentence, when the files cannot be used; so does this. `what` is for the log."""
        self._files = files
        self._load = load
        self._what = what
        self._clock = clock
        self._stamps = self._look()  # before they are read: what changes meanwhile is read again
        self._value = load()
        self._look_at = clock() + LOOK_SECONDS

    def value(self) -> T:
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._follow()
        return self._value

    def _follow(self) -> None:
        stamps = self._look()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self._value = self._load()
        except ValueError as error:
            log.warning("%s; %s of before stay in force", self._without_folders(str(error)), self._what)
        else:
            log.info("%s were read again", self._what)

    def _without_folders(self, text: str) -> str:
        """A log goes further than the host whose paths these are."""
        for file in self._files:
            text = text.replace(str(file), file.name)
        return text

    def _look(self) -> list[_Stamp | None]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> _Stamp | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
