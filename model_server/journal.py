"""What was loaded, unloaded and registered by calls since the workers' start, in order: who starts later does the same.

Files of the workers' folder; whoever changes or reads them holds its lock, so that all workers do the calls in one order.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from crossover.protos import inference as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

_LOCK = "control-lock"
_LOOK_SECONDS = 0.01
_CALLS = "call-"
_MODEL, _MEMORY = "model", "memory"


@dataclass(frozen=True, slots=True)
class SharedCall:
    """A call that every worker does."""

    kind: str
    """A later call of the same kind and name makes an earlier one mean nothing."""
    what: str
    """What a sentence calls it; the name follows."""

    def name(self, request: Any) -> str:
        """Of the model or region that it concerns."""
        return str(request.model_name if self.kind == _MODEL else request.name)

    def told(self, request: Any) -> str:
        return f"{self.what} '{self.name(request)}'"


SHARED_CALLS = {
    "RepositoryModelLoad": SharedCall(_MODEL, "load of model"),
    "RepositoryModelUnload": SharedCall(_MODEL, "unload of model"),
    "SystemSharedMemoryRegister": SharedCall(_MEMORY, "registration of region"),
    "SystemSharedMemoryUnregister": SharedCall(_MEMORY, "end of region"),
}


class Journal:
    """The last call that concerns each model and each region."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While no other worker is in here; the system takes the lock from one that dies."""
        fd = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            while not _locked(fd):  # noqa: ASYNC110 - the other one is another process
                await asyncio.sleep(_LOOK_SECONDS)
            yield
        finally:
            os.close(fd)

    def note(self, method: str, request: Any) -> None:
        """The call was done."""
        call = SHARED_CALLS[method]
        name, kind = call.name(request), call.kind
        key = f"{kind}-{sha256(name.encode()).hexdigest()[:32]}" if name else f"{kind}-"
        before = self._files()
        number = int(before[-1].name.split("-")[1]) + 1 if before else 0
        finished = self._folder / f"{_CALLS}{number:09d}-{method}-{key}"
        if method != "SystemSharedMemoryUnregister":  # who starts later has no regions
            unfinished = self._folder / f".{finished.name}"
            unfinished.write_bytes(request.SerializeToString())
            unfinished.replace(finished)
        for path in before:
            if path.name.split("-", 3)[3].startswith(key):
                path.unlink()

    def calls(self) -> Iterator[tuple[str, Any, float]]:
        """Methods, requests and when they were done, in their order."""
        for path in self._files():
            method = path.name.split("-")[2]
            yield method, pb.METHODS[method].request.FromString(path.read_bytes()), path.stat().st_mtime

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_CALLS}*"))


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
