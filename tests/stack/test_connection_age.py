"""MAX_CONNECTION_AGE_SECONDS: connections end, calls do not, and a replica that joins behind an L4 balancer gets its share."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, suppress

import pytest

from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.serve import RestListener
from crossover.endpoints.rest.types import RestOptions
from crossover.model_server.settings import ModelServerSettings
from crossover.protocol.wires import WIRES, Target, connect
from crossover.rest_gateway.settings import GatewaySettings
from crossover.stack.fleet import running
from crossover.transport.connection_age import ENDLESS, ConnectionAge
from crossover.transport.http1.limits import Http1Limits
from tests.fakes import RecordingInference
from tests.freezing import freezing
from tests.stack.test_replicas import REMOTE, counts, load

AGE_SECONDS, GRACE_SECONDS = 0.5, 2.0
SETTINGS = {
    "MAX_CONNECTION_AGE_SECONDS": str(AGE_SECONDS), "MAX_CONNECTION_AGE_GRACE_SECONDS": str(GRACE_SECONDS),
}  # fmt: skip


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.mark.parametrize("library", ["grpcio", "lean"])
async def test_connections_end_and_calls_do_not(tmp_path, library):
    """Under load, over every wire at once: each goes through several connections, and no call fails."""
    environment = {**SETTINGS, "MODEL_SERVER_GRPC_LIBRARY": library}
    with ExitStack() as stack:
        fleet = stack.enter_context(running(1, environment, stack.enter_context((tmp_path / "log").open("wb"))))
        (replica,) = fleet.replicas
        async with AsyncExitStack() as ways:

            async def under_load(wire):
                address = replica.rest if WIRES[wire].kind == "rest" else replica.grpc
                proxy = await ways.enter_async_context(freezing(port_of(address)))
                client = connect(wire, Target(f"127.0.0.1:{proxy.port}", f"http://127.0.0.1:{proxy.port}"))
                ways.push_async_callback(client.close)
                calls = await load(client, stop=stop, callers=1)
                return wire, proxy.connections, [call.error for call in calls if call.error]

            stop = asyncio.Event()
            loading = [asyncio.create_task(under_load(wire)) for wire in REMOTE]
            await asyncio.sleep(6 * AGE_SECONDS)
            stop.set()
            outcomes = await asyncio.gather(*loading)
    assert [outcome for outcome in outcomes if outcome[1] < 3 or outcome[2]] == []


def test_both_services_take_the_setting(monkeypatch):
    """One setting, for the gateway's port as for the model server's."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    for kind in (GatewaySettings, ModelServerSettings):
        assert kind().http_limits().age == ConnectionAge(AGE_SECONDS, GRACE_SECONDS)
    monkeypatch.delenv("MAX_CONNECTION_AGE_SECONDS")
    assert GatewaySettings().http_limits().age is ENDLESS


async def test_an_old_http_connection_ends_with_its_next_reply():
    """`Connection: close`, and never in the middle of anything; a stream is told before its connection's grace can end."""
    inference = RecordingInference()
    limits = Http1Limits(age=ConnectionAge(0.3))
    listener = RestListener(OipRest(lambda _: (None, inference), settings=RestOptions()), "127.0.0.1", 0, limits=limits)
    await listener.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        with closing(writer):
            said = []
            for pause in (0.0, 0.7):
                await asyncio.sleep(pause)
                writer.write(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
                said.append(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(int(said[-1].partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            assert b"connection: close" not in said[0]
            assert b"connection: close" in said[1]
            assert await reader.read() == b""
    finally:
        await listener.stop(1)
    assert ConnectionAge(60, 30).of_stream < 30
    assert ConnectionAge(10, 30).of_stream < 10


@asynccontextmanager
async def l4(ports: list[int]):
    """A balancer that gives each new connection to the next of `ports`; its port."""
    turn = itertools.count()
    ways: set[asyncio.Task] = set()

    async def copy(reader, writer):
        with suppress(ConnectionError), closing(writer):
            while data := await reader.read(1 << 16):
                writer.write(data)

    async def serve(reader, writer):
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", ports[next(turn) % len(ports)])
        ways.update(asyncio.create_task(copy(*way)) for way in ((reader, to_writer), (to_reader, writer)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def share_of_the_last(fleet) -> list[int]:
    """What each replica did in a while in which the last one had its share, or in the last of ten."""
    before = await counts(fleet)
    for _ in range(10):
        await asyncio.sleep(4 * AGE_SECONDS)
        now = await counts(fleet)
        done = [after - was for after, was in zip(now, before, strict=True)]
        if done[-1] > 0.2 * sum(done):
            break
        before = now
    return done


@pytest.mark.slow
@pytest.mark.parametrize("library", ["grpcio", "lean"])
@pytest.mark.parametrize("wire", ["grpc", "grpc-lean", "grpc-stream", "rest"])
async def test_a_new_replica_behind_an_l4_balancer_gets_its_share(tmp_path, wire, library):
    """16 callers with connections of their own that stick to two replicas: the third has a quarter of the load soon."""
    environment = {**SETTINGS, "MODEL_SERVER_GRPC_LIBRARY": library}
    with ExitStack() as stack:
        fleet = stack.enter_context(running(2, environment, stack.enter_context((tmp_path / "log").open("wb"))))
        address_of = (lambda each: each.rest) if WIRES[wire].kind == "rest" else (lambda each: each.grpc)
        ports = [port_of(address_of(each)) for each in fleet.replicas]
        async with AsyncExitStack() as ways:
            port = await ways.enter_async_context(l4(ports))
            target = Target(f"127.0.0.1:{port}", f"http://127.0.0.1:{port}")
            clients = [connect(wire, target) for _ in range(16)]
            for client in clients:
                ways.push_async_callback(client.close)
            stop = asyncio.Event()
            loading = [asyncio.create_task(load(client, stop=stop, callers=1)) for client in clients]
            await asyncio.sleep(1)
            ports.append(port_of(address_of(await asyncio.to_thread(fleet.add))))
            done = await share_of_the_last(fleet)
            stop.set()
            calls = [call for each in await asyncio.gather(*loading) for call in each]
    assert [call.error for call in calls if call.error] == []
    assert done[-1] > 0.2 * sum(done), done
