"""Three model servers as processes and 16 callers: shares, ends, scale-up, over every wire and through the gateway."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import WIRES, Target, connect
from crossover.stack.fleet import Fleet, ReplicaProcess, running

REMOTE = [name for name, wire in WIRES.items() if wire.kind != "process"]
CALLERS = 16
DRAIN_SECONDS = 2.0


@dataclass
class Call:
    """When it began and ended, and its error."""

    began: float
    ended: float
    error: InferenceError | None = None


WAYS = [("grpcio", wire) for wire in REMOTE] + [
    pytest.param("lean", wire, marks=pytest.mark.slow) for wire in REMOTE if WIRES[wire].kind == "grpc"
]
"""Every wire, and those of gRPC in front of the other library."""


@pytest.fixture(scope="module")
def fleets(tmp_path_factory):
    """Three of them by a gRPC library, started when first asked for; tests leave them as they were."""
    folder = tmp_path_factory.mktemp("fleets")
    started: dict[str, Fleet] = {}
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))

        def fleet_of(library: str) -> Fleet:
            if library not in started:
                environment = {
                    "DRAIN_SECONDS": str(DRAIN_SECONDS), "MODEL_SERVER_GRPC_LIBRARY": library, "DATA_DIR": str(folder),
                }  # fmt: skip
                started[library] = stack.enter_context(running(3, environment, log))
            return started[library]

        yield fleet_of


@pytest.fixture
def fleet(fleets, request):
    """Of grpcio, unless the test says otherwise."""
    return fleets(getattr(request, "param", "grpcio"))


def target_of(fleet: Fleet, **more) -> Target:
    return Target(fleet.grpc_target, fleet.rest_target, **more)


@asynccontextmanager
async def connected(wire, target):
    client = connect(wire, target)
    try:
        yield client
    finally:
        await client.close()


async def load(client, *, count=10**9, stop=None, callers=CALLERS) -> list[Call]:
    """`count` calls, or until `stop`, by callers that each wait for their answer."""
    calls: list[Call] = []
    left = count

    async def caller():
        nonlocal left
        tensor = Tensor.from_array("x", np.ones((1, 4), "f4"))
        while left > 0 and not (stop is not None and stop.is_set()):
            left -= 1
            began, error = time.monotonic(), None
            try:
                await client.infer(InferRequest("identity", [tensor]), CallContext(deadline.after(20)))
            except InferenceError as failed:
                error = failed
            calls.append(Call(began, time.monotonic(), error))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return calls


async def counts(fleet: Fleet) -> list[int]:
    """How many inferences each replica has done, by its own statistics."""
    found = []
    for replica in fleet.replicas:
        async with connected("rest", Target(rest=replica.rest)) as client:
            (stats,) = (await client.model_statistics("identity", "", CallContext())).model_stats
            found.append(stats.inference_count)
    return found


async def shares(fleet: Fleet, client, count: int) -> list[float]:
    """Each replica's part of `count` calls, none of which fails."""
    before = await counts(fleet)
    assert [call for call in await load(client, count=count) if call.error] == []
    done = [after - was for after, was in zip(await counts(fleet), before, strict=True)]
    assert sum(done) == count
    return [each / count for each in done]


@pytest.mark.parametrize(("fleet", "wire"), WAYS, indirect=["fleet"])
async def test_every_wire_spreads_over_the_replicas(fleet, wire):
    """Round robin: nobody has more than 40 %, streams and joined calls included."""
    async with connected(wire, target_of(fleet)) as client:
        assert max(await shares(fleet, client, 480)) <= 0.40


async def ended(fleet: Fleet, wire: str, number: int, after: float, rest: float) -> tuple[list[Call], float]:
    """Load, a signal to the first replica `after` seconds, and load for `rest` seconds more; when the signal was sent.

    The replica is started again.
    """
    stop = asyncio.Event()
    async with connected(wire, target_of(fleet)) as client:
        loading = asyncio.create_task(load(client, stop=stop))
        await asyncio.sleep(after)
        victim = fleet.replicas[0]
        at = time.monotonic()
        victim.service.signal(number)
        await asyncio.sleep(rest)
        await asyncio.to_thread(victim.service.wait, 15.0)
        stop.set()
        calls = await loading
    victim.start()
    await asyncio.to_thread(victim.service.await_ready)
    return calls, at


def check_killed(calls: list[Call], at: float) -> None:
    """Only calls in flight fail, one a caller at most, with 503; what begins when the process is gone does not."""
    failed = [call for call in calls if call.error]
    assert len(failed) <= CALLERS, failed
    assert {call.error.code for call in failed} <= {Code.UNAVAILABLE}
    gone = min((call.ended for call in failed), default=at)
    assert [call for call in failed if call.began > gone] == []


@pytest.mark.parametrize("wire", ["grpc", "rest-binary"])
async def test_one_that_is_killed_fails_only_what_was_in_flight_on_it(fleet, wire):
    """SIGKILL, and 16 callers."""
    calls, at = await ended(fleet, wire, signal.SIGKILL, 0.3, 0.5)
    check_killed(calls, at)


@pytest.mark.slow
@pytest.mark.parametrize(("fleet", "wire"), WAYS, indirect=["fleet"])
async def test_sigterm_fails_none_and_sigkill_only_what_was_in_flight(fleet, wire):
    """20,000 calls over an end by SIGTERM: 0 failed; over one by SIGKILL: at most one a caller."""
    calls, _ = await ended(fleet, wire, signal.SIGTERM, 0.5, DRAIN_SECONDS + 2)
    async with connected(wire, target_of(fleet)) as client:
        calls += await load(client, count=max(0, 20_000 - len(calls)))
    assert len(calls) >= 20_000
    assert [call for call in calls if call.error] == []
    calls, at = await ended(fleet, wire, signal.SIGKILL, 0.5, 1.0)
    check_killed(calls, at)


async def test_sigterm_fails_none(fleet):
    """A drain, under load: those who ask hear of it in time."""
    calls, _ = await ended(fleet, "rest", signal.SIGTERM, 0.3, DRAIN_SECONDS)
    assert [call for call in calls if call.error] == []


@asynccontextmanager
async def delayed(port: int, seconds: float):
    """A way to the port on which every answer takes so much longer; its port."""
    ways: set[asyncio.Task] = set()

    async def copy(reader, writer, pause):
        with suppress(ConnectionError), closing(writer):
            while data := await reader.read(1 << 16):
                await asyncio.sleep(pause)
                writer.write(data)

    async def serve(reader, writer):
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        ways.update(asyncio.create_task(copy(*way)) for way in ((reader, to_writer, 0.0), (to_reader, writer, seconds)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.mark.parametrize("wire", ["grpc-lean", "rest-binary"])
async def test_least_request_gives_less_to_a_slower_one(fleet, wire):
    """A replica that is 5 ms slower gets clearly less than a third."""
    slow, *fast = fleet.replicas
    is_rest = WIRES[wire].kind == "rest"
    async with delayed(_port(slow.rest if is_rest else slow.grpc), 0.005) as port:
        target = Target(
            ",".join([f"127.0.0.1:{port}", *(each.grpc for each in fast)]),
            ",".join([f"http://127.0.0.1:{port}", *(each.rest for each in fast)]),
            balancing="least_request",
        )
        async with connected(wire, target) as client:
            share = await shares(fleet, client, 800)
    assert share[0] < 0.30


@pytest.mark.slow
async def test_a_fourth_replica_gets_its_share(fleet, tmp_path):
    """It is added to a file; soon it has a quarter of the load. Names: tests/clients/balancing/test_balanced.py."""
    file = tmp_path / "replicas"
    file.write_text("\n".join(each.rest for each in fleet.replicas))
    try:
        async with connected("rest-binary", Target(rest=f"@{file}")) as client:
            await load(client, count=100)
            late = await asyncio.to_thread(fleet.add)
            file.write_text("\n".join(each.rest for each in fleet.replicas))
            until = time.monotonic() + 10
            while (await shares(fleet, client, 200))[-1] < 0.20:
                assert time.monotonic() < until
            assert late is fleet.replicas[-1]
    finally:
        for each in fleet.replicas[3:]:
            await asyncio.to_thread(each.service.stop)
        del fleet.replicas[3:]


@pytest.fixture(scope="module")
def gateway(fleets):
    """One in front of all three, over any wire."""
    fleet = fleets("grpcio")
    fleet.start_gateway(GATEWAY_UPSTREAM_HEADER="1", GATEWAY_REPOSITORY_CONTROL="1")
    yield fleet
    fleet.gateway.stop()


def ask(fleet: Fleet, path: str, body: object = None, wire: str = "grpc") -> tuple[int, str]:
    """Status and text of a request to the gateway."""
    request = urllib.request.Request(
        f"{fleet.gateway_url}{path}",
        None if body is None else json.dumps(body).encode(),
        {"inference-upstream": wire, "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


INFER = "/v2/models/identity/infer"
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2.0]}]}


def connections_to(replica: ReplicaProcess) -> int:
    """How many TCP connections to its ports somebody holds open, both ends of a connection counted."""
    ports = {f"{int(address.rpartition(':')[2]):04X}" for address in (replica.grpc, replica.rest)}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    open_states = {"01", "08"}  # ESTABLISHED, CLOSE_WAIT
    return sum(row[2].rpartition(":")[2] in ports and row[3] in open_states for row in rows)


def test_the_gateway_goes_on_with_the_replicas_that_there_are(gateway):
    """Over every wire; it is ready while one replica is, loads and unloads hold for all or name the one that is away, and
    /metrics tells the state of each.
    """
    victim = gateway.replicas[0]
    assert [ask(gateway, INFER, BODY, wire)[0] for wire in REMOTE for _ in range(3)] == [200] * 3 * len(REMOTE)
    assert ask(gateway, "/v2/repository/models/identity/load", {})[0] == 200
    count = json.loads(ask(gateway, "/v2/models/identity/stats")[1])["model_stats"][0]["inference_count"]
    own = sum(asyncio.run(counts(gateway)))
    assert int(count) == own
    victim.service.kill()
    while connections_to(victim):  # a call on one whose end the gateway has not read yet is a call in flight
        time.sleep(0.01)
    try:
        assert [ask(gateway, INFER, BODY, wire)[0] for wire in REMOTE for _ in range(3)] == [200] * 3 * len(REMOTE)
        assert ask(gateway, "/v2/health/ready")[0] == 200
        status, text = ask(gateway, "/v2/repository/models/identity/load", {})
        assert status == 503
        assert f"1 of 3 replicas: {victim.grpc}" in text
        metrics = ask(gateway, "/metrics")[1]
        assert f'crossover_upstream_replica_ready{{replica="{victim.grpc}",upstream="grpc"}} 0.0' in metrics
        assert (
            f'crossover_upstream_replica_ready{{replica="{gateway.replicas[1].rest}",upstream="rest"}} 1.0' in metrics
        )
    finally:
        victim.start()
        victim.service.await_ready()
