"""HTTP connections to an address behind which several processes share the port."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager

import orjson
import pytest

from crossover.clients.balancing.lanes import extension
from crossover.clients.balancing.worker_pool import WorkerPool
from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError

KEY = ("authorization", "Bearer secret")


class Processes:
    """A port whose connections each come to one of `count` processes by chance, as SO_REUSEPORT has it."""

    def __init__(self, count: int, seed: int = 1) -> None:
        self.count = count
        self.answered: Counter[int] = Counter()
        self.connections = 0
        self.missing: int | None = None
        """Nobody comes to this one."""
        self.closes = False
        self.silent = False
        self.delay = 0.0
        self._chance = random.Random(seed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        index = self._chance.choice([each for each in range(self.count) if each != self.missing])
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) and not self.silent:
                assert b"authorization: Bearer secret" in head
                if head.startswith(b"GET /prefix/v2 "):
                    body = orjson.dumps(
                        {"name": "crossover", "extensions": ["statistics", extension(index, self.count)]}
                    )
                else:
                    await asyncio.sleep(self.delay)
                    self.answered[index] += 1
                    body = b"{}"
                close = b"connection: close\r\n" if self.closes else b""
                writer.write(b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n%b" % (close, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def pool_of(processes: Processes, connections: int = 100):
    server = await asyncio.start_server(processes.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/prefix"
    pool = WorkerPool(url, processes.count, lambda: [KEY], connections)
    try:
        yield pool
    finally:
        await pool.close()
        server.close()


async def call(pool: WorkerPool) -> None:
    assert (await pool.request("POST", "/infer", [KEY], [b"x"], deadline.after(10))).status == 200


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("callers", [1, 16])
async def test_each_process_gets_its_share(count, callers):
    """One caller or many: no process gets more than 1.25 times its share, and connections are few."""
    processes = Processes(count)
    async with pool_of(processes) as pool:

        async def caller() -> None:
            for _ in range(400 // callers):
                await call(pool)

        await asyncio.gather(*(caller() for _ in range(callers)))
    assert max(processes.answered.values()) <= 1.25 * processes.answered.total() / count
    assert processes.connections <= 16 + 8 * count


async def test_a_process_that_is_away_is_sought_and_not_waited_for():
    """Calls go to the others at once; a new connection is opened now and then until the process is found."""
    processes = Processes(2)
    processes.missing = 1
    async with pool_of(processes) as pool:
        for _ in range(200):
            await call(pool)
        assert processes.answered[0] == 200
        sought = processes.connections
        assert sought <= 2 + 4 * 2 + 20
        processes.missing = None
        while not processes.answered[1]:
            await call(pool)


async def test_connections_have_their_bound():
    """UPSTREAM_CONNECTIONS holds while a process is sought, too."""
    processes = Processes(2)
    processes.missing = 1
    async with pool_of(processes, connections=1) as pool:
        for _ in range(20):
            await call(pool)
        assert len(pool._idle) == 1
    assert processes.connections == 1


async def test_a_server_that_leaves_answers_still():
    """It ends each connection with its reply, also that to the question; the call has a connection of its own then."""
    processes = Processes(2)
    processes.closes = True
    async with pool_of(processes) as pool:
        await call(pool)
    assert processes.answered.total() == 1


async def test_a_process_that_does_not_answer_has_not_seen_the_call(monkeypatch):
    """The question is lost, and not the call: it may be sent again, whatever it is."""
    monkeypatch.setattr("crossover.clients.balancing.worker_pool.ANSWER_SECONDS", 0.1)
    processes = Processes(2)
    processes.silent = True
    async with pool_of(processes) as pool:
        with pytest.raises(InferenceError) as raised:
            await call(pool)
    assert raised.value.code is Code.UNAVAILABLE
    assert raised.value.unprocessed
