"""`python -m crossover.comparison.fleet.delay MS FROM:TO ...`: a process that passes TCP connections on, answers later by MS."""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing, suppress
from functools import partial

_PIECE = 1 << 16


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Each piece later by so long; pieces that come meanwhile are not held up by each other."""
    loop = asyncio.get_running_loop()
    with suppress(ConnectionError), closing(writer):
        while data := await reader.read(_PIECE):
            if not seconds:
                writer.write(data)
                continue
            loop.call_later(seconds, writer.write, data)
        await asyncio.sleep(seconds)


async def serve(seconds: float, ways: list[tuple[int, int]]) -> None:
    """Until it is ended."""
    tasks: set[asyncio.Task[None]] = set()

    async def passing(to: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        for way in (_copy(reader, to_writer, 0.0), _copy(to_reader, writer, seconds)):
            task = asyncio.create_task(way)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    for port, to in ways:
        await asyncio.start_server(partial(passing, to), "127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    milliseconds, *given = sys.argv[1:]
    pairs = [way.split(":") for way in given]
    asyncio.run(serve(float(milliseconds) / 1000, [(int(port), int(to)) for port, to in pairs]))
