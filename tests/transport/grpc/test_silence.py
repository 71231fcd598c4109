"""The lean client and silence (transport/silence.py): a connection that carries nothing any more is left within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time

import grpc
import pytest
from grpc import aio

from crossover.protocol.deadline import NEVER, after
from crossover.transport import silence
from crossover.transport.grpc import client_connection
from crossover.transport.grpc.client import Address, Channel
from crossover.transport.grpc.status import CallFailedError
from tests.freezing import freezing
from tests.transport.grpc.http2_server import Peer, echo, serving


@contextlib.asynccontextmanager
async def frozen(answer=echo):
    """A method by a proxy whose connections can be frozen, the proxy, and the server's connections."""
    async with serving(answer) as (direct, peers):
        port = direct._channel._address.port
        async with freezing(port) as proxy:
            channel = Channel(Address.of(f"127.0.0.1:{proxy.port}"), limit=1 << 20, user_agent="test")
            try:
                yield channel.method("/a.Service/Method"), proxy, peers
            finally:
                await channel.close()


async def test_a_connection_that_carries_nothing_is_left_before_any_deadline():
    """New calls work within five seconds though no deadline has passed; the calls on the lost connection are UNAVAILABLE."""
    async with frozen() as (method, proxy, _):
        await method.call(b"", NEVER, ())
        proxy.freeze()
        stuck = asyncio.create_task(method.call(b"", NEVER, ()))
        began = time.monotonic()
        while True:
            try:
                await method.call(b"new", after(0.3), ())
                break
            except CallFailedError as failed:
                assert failed.status.code in (4, 14)  # 14: it was on the lost connection when that was found out
            await asyncio.sleep(0.05)
        assert time.monotonic() - began < 5 * 3  # three times what it may take, for a busy machine
        with pytest.raises(CallFailedError) as lost:
            await stuck
        assert (lost.value.status.code, lost.value.status.details) == (14, "the connection is silent")
        assert proxy.connections == 2


async def test_a_deadline_that_passes_in_silence(monkeypatch):
    """One PING at once; without an answer the next call goes elsewhere, long before the silence itself would tell."""
    monkeypatch.setattr(client_connection, "SILENT_SECONDS", 60.0)
    monkeypatch.setattr(client_connection, "PROBE_SECONDS", 0.2)
    async with frozen() as (method, proxy, _):
        await method.call(b"", NEVER, ())
        proxy.freeze()
        with pytest.raises(CallFailedError):
            await method.call(b"", after(0.05), ())
        await asyncio.sleep(0.5)
        assert bytes((await method.call(b"", after(20), ()))[0]) == b""
        assert proxy.connections == 2


async def test_a_slow_answer_is_no_silence(monkeypatch):
    """A model that takes its time costs one PING, no connection and no call."""
    monkeypatch.setattr(client_connection, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(
        client_connection, "PROBE_SECONDS", 30.0
    )  # the answer to the PING comes, however busy the machine

    def later(peer, stream, body, headers):
        asyncio.get_running_loop().call_later(1.5, echo, peer, stream, body, headers)

    async with frozen(later) as (method, proxy, peers):
        pings = []
        call = asyncio.create_task(method.call(b"", NEVER, ()))
        while not peers or not peers[0].headers:
            await asyncio.sleep(0.005)
        take = peers[0]._take
        peers[0]._take = lambda event: (pings.append(event) if "Ping" in type(event).__name__ else None, take(event))
        assert bytes((await call)[0]) == b""
        assert (len(pings), proxy.connections) == (1, 1)


async def test_it_comes_back(monkeypatch):
    """A service that was stopped and goes on: a connection that is heard again takes calls again, none on it was given up."""
    monkeypatch.setattr(client_connection, "PROBE_SECONDS", 0.1)
    held: list = []
    flush = Peer.flush
    async with serving(lambda *request: held.append(request)) as (method, peers):
        call = asyncio.create_task(method.call(b"", NEVER, ()))
        while not held:
            await asyncio.sleep(0.005)
        connection = method._channel._connection
        monkeypatch.setattr(Peer, "flush", lambda self: None)  # new connections are accepted; nobody is answered
        monkeypatch.setattr(client_connection, "SILENT_SECONDS", 0.1)  # not before: a slow machine is silent for longer
        connection._listen()
        while connection.suspect_since is None:
            await asyncio.sleep(0.02)
        assert method._channel.current is not connection
        monkeypatch.setattr(Peer, "flush", lambda self: flush(self) if self is peers[0] else None)
        echo(*held[0])
        assert bytes((await call)[0]) == b""
        assert method._channel.current is connection


async def test_a_default_grpcio_server_minds_none_of_it(monkeypatch):
    """Silence after silence, each asked about as often as the policy lets it: no too_many_pings."""
    monkeypatch.setattr(client_connection, "SILENT_SECONDS", 0.05)

    async def slow(request, context):
        await asyncio.sleep(1.0)
        return request

    server = aio.server()

    handler = grpc.method_handlers_generic_handler("a", {"B": grpc.unary_unary_rpc_method_handler(slow)})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = Channel(Address.of(f"127.0.0.1:{port}"), limit=1 << 20, user_agent="test")
    try:
        method = channel.method("/a/B")
        for _ in range(5):
            assert bytes((await method.call(b"", after(20), ()))[0]) == b""
        connection = channel.current
        assert connection is not None
        with contextlib.suppress(CallFailedError):
            await method.call(b"", after(0.01), ())
        assert channel.current is connection
    finally:
        await channel.close()
        await server.stop(None)


async def test_idle_connections_are_given_up(monkeypatch):
    """A connection without calls is closed by the client, before a server would; the next call opens another."""
    monkeypatch.setattr(client_connection, "IDLE_SECONDS", 0.1)
    async with serving() as (method, peers):
        await method.call(b"", NEVER, ())
        while peers[0].transport is not None:
            await asyncio.sleep(0.02)
        assert bytes((await method.call(b"", NEVER, ()))[0]) == b""
        assert len(peers) == 2


def test_the_policy_is_the_one_of_all_wires():
    """Its numbers stand in transport/silence.py."""
    assert client_connection.SILENT_SECONDS == silence.SILENT_SECONDS
    assert client_connection.PROBE_SECONDS == silence.PROBE_SECONDS
