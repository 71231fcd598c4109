"""One `/metrics` for all workers of a service, whichever of them is scraped.

Each worker serves its own metrics on a Unix socket in the workers' folder. The scraped worker asks the others, adds up, and
stores each answer: when a worker dies, its last stored counts stay in the sum (what it counted since the last scrape is
lost), so that no counter goes back and no rate jumps.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from crossover.service.file_lock import held
from crossover.service.workers.summing import summed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from crossover.service.workers.worker import Worker

SOCKET = "metrics"
_ANSWER_SECONDS = 1.0
"""A worker whose event loop is blocked for longer is reported as it was at the last scrape."""
_ENDED = "metrics-ended"
_LOCK = "metrics-lock"


class Scrape:
    """Serves this worker's metrics to the others, and merges those of all."""

    def __init__(self, worker: Worker, own: Callable[[], Awaitable[bytes]]) -> None:
        self._worker = worker
        self._own = own
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        path = self._worker.socket(SOCKET)
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._tell, path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def whole(self) -> bytes:
        """The metrics of all workers in Prometheus' text format."""
        answers = await asyncio.gather(*(self._ask(index) for index in self._worker.others))
        own = (os.getpid(), await self._own())
        answers_by_index = {self._worker.index: own} | dict(zip(self._worker.others, answers, strict=True))
        return await asyncio.to_thread(self._kept_and_summed, answers_by_index)

    def _kept_and_summed(self, answers: dict[int, tuple[int, bytes] | None]) -> bytes:
        folder = self._worker.folder
        with held(folder / _LOCK, fcntl.LOCK_SH):
            for index, answer in answers.items():
                if answer is not None and _lives(answer[0]):
                    _replace(folder / _kept(index, answer[0]), answer[1])
            current = {_kept(index, answer[0]) for index, answer in answers.items() if answer is not None}
            ended = [path.read_bytes() for path in folder.glob("metrics-*-*") if path.name not in current]
            ended += [path.read_bytes() for path in folder.glob(_ENDED)]
        return summed([answer[1] for answer in answers.values() if answer is not None], ended)

    async def _ask(self, index: int) -> tuple[int, bytes] | None:
        """The process id of another worker and its metrics; None when it does not answer."""
        with suppress(OSError, ValueError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._worker.socket(SOCKET, index))
                try:
                    pid, _, text = (await reader.read(-1)).partition(b"\n")
                    return (int(pid), text) if text.endswith(b"\n") else None
                finally:
                    writer.close()
        return None

    async def _tell(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d\n%b" % (os.getpid(), await self._own()))
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()


def bury(folder: Path, index: int, pid: int) -> None:
    """Add an ended worker's counts to those of the ended ones before it. Only the supervisor calls this."""
    with held(folder / _LOCK), suppress(FileNotFoundError):
        last = (folder / _kept(index, pid)).read_bytes()
        ended = folder / _ENDED
        before = [ended.read_bytes()] if ended.exists() else []
        _replace(ended, summed([], [*before, last]))
        (folder / _kept(index, pid)).unlink()


def _lives(pid: int) -> bool:
    """Whether the supervisor has not yet heard of its end, so that `bury` comes later."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def _kept(index: int, pid: int) -> str:
    return f"metrics-{index}-{pid}"


def _replace(path: Path, text: bytes) -> None:
    """Others see the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(text)
    temporary.replace(path)
