"""A TCP proxy whose connections can be frozen: they stay open and carry nothing, while new ones work.

That is what a dropped NAT entry, a lost host behind an address and a stuck middlebox look like to a client.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Freezing:
    def __init__(self, target: int) -> None:
        self.port = 0
        self.connections = 0
        self._target = target
        self._ways: set[asyncio.Task] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._flowing = self._open()

    @staticmethod
    def _open() -> asyncio.Event:
        flowing = asyncio.Event()
        flowing.set()
        return flowing

    def freeze(self) -> None:
        """The connections that exist now."""
        self._flowing.clear()
        self._flowing = self._open()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        flowing = self._flowing
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._writers += (writer, to_writer)
        for way in (self._copy(reader, to_writer, flowing), self._copy(to_reader, writer, flowing)):
            task = asyncio.create_task(way)
            self._ways.add(task)
            task.add_done_callback(self._ways.discard)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                await flowing.wait()
                writer.write(data)
        await flowing.wait()
        writer.close()

    async def end(self) -> None:
        for task in list(self._ways):
            task.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)
        for writer in self._writers:
            writer.close()


@contextlib.asynccontextmanager
async def freezing(target: int) -> AsyncIterator[Freezing]:
    """A proxy on a port of its own, in front of loopback port `target`."""
    proxy = Freezing(target)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as listener:
        proxy.port = listener.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            await proxy.end()
