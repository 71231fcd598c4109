"""Calls are taken from grpcio's core many at a time, and end as grpc.aio's own do."""

from __future__ import annotations

import asyncio

import pytest

from crossover.clients import grpc_unary
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.transport import release_guard
from crossover.transport.grpcio import request_pool
from tests.fakes import RecordingInference, SlowInference
from tests.grpc_service import listening, request


def begun(client, number: int) -> list[asyncio.Task]:
    return [asyncio.create_task(client.infer(request(str(one)), CallContext())) for one in range(number)]


@pytest.mark.parametrize("release", ["1.85.1", "1.86.0"])
async def test_more_calls_than_the_pool_holds_are_all_begun_and_answered(monkeypatch, release):
    """However many come, all begin while none is answered, with the pool and with grpc.aio's own request alone."""
    monkeypatch.setattr(release_guard, "installed", lambda _: release)
    slow, number = SlowInference(), 3 * request_pool.POOL_SIZE
    async with listening(slow) as target:
        client = grpc_unary.connect(target)
        calls = begun(client, number)
        for _ in range(number):
            await asyncio.wait_for(slow.started.acquire(), 10)
        slow.release.set()
        answers = await asyncio.gather(*calls)
        await client.close()
    assert [answer.id for answer in answers] == [str(one) for one in range(number)]


async def test_the_pool_is_open_at_once(monkeypatch):
    """As soon as the server listens, all requests of the pool wait for a call."""
    asked = 0
    accept = request_pool.RequestPool._accept

    async def counted(self) -> None:
        nonlocal asked
        asked += 1
        await accept(self)

    monkeypatch.setattr(request_pool.RequestPool, "_accept", counted)
    async with listening(RecordingInference()):
        await asyncio.sleep(0)
        assert asked == request_pool.POOL_SIZE


async def test_a_call_whose_client_gives_up_is_cancelled():
    """What notices it is grpc.aio's, and it still does."""
    slow = SlowInference()
    async with listening(slow) as target:
        client = grpc_unary.connect(target)
        [call] = begun(client, 1)
        await slow.started.acquire()
        call.cancel()
        await asyncio.wait_for(slow.cancelled.acquire(), 10)
        await client.close()


async def test_a_stopped_server_leaves_no_task(caplog):
    """The core returns every request of the pool, with calls under way or without, and nobody complains."""
    before = asyncio.all_tasks()
    for number in (0, 1, 2 * request_pool.POOL_SIZE):
        slow = SlowInference()
        async with listening(slow, grace=0) as target:
            client = grpc_unary.connect(target)
            calls = begun(client, number)
            for _ in range(number):
                await slow.started.acquire()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        await client.close()
        assert {end.code for end in ends if isinstance(end, InferenceError)} <= {Code.UNAVAILABLE, Code.CANCELLED}
        assert sum(isinstance(end, InferenceError) for end in ends) == number
    for _ in range(100):
        if not asyncio.all_tasks() - before:
            break
        await asyncio.sleep(0.01)
    assert asyncio.all_tasks() - before == set()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_calls_under_way_end_well_in_the_grace_period():
    """A stop that gives them time does not cut them off."""
    slow = SlowInference()
    async with listening(slow, grace=10) as target:
        client = grpc_unary.connect(target)
        calls = begun(client, 5)
        for _ in range(5):
            await slow.started.acquire()
        asyncio.get_running_loop().call_later(0.05, slow.release.set)
    assert len(await asyncio.gather(*calls)) == 5
    await client.close()
