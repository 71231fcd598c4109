"""One situation: an arm, a balancer and an event over replicas that run, and what was seen of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from crossover.comparison.fleet.envoy import Envoy, await_port
from crossover.comparison.fleet.shares import Calls, has_its_share, jain, quantile, shares
from crossover.comparison.machine import cpu
from crossover.protocol import deadline
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import WIRES, Target, connect
from crossover.stack.services import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crossover.protocol.inference import Inference
    from crossover.stack.fleet import Fleet, ReplicaProcess

BALANCERS = {
    "none": "one address: the first replica's",
    "client": "our clients balance (round_robin, a file of addresses)",
    "l4": "Envoy passes connections on",
    "l4-age": "the same, and connections end after MAX_CONNECTION_AGE_SECONDS=2",
    "l7": "Envoy passes requests on",
}
EVENTS = {
    "steady": "nothing happens",
    "restart": "each replica in turn is stopped by SIGTERM and started again",
    "slow": "one replica answers 5 ms later",
    "scale-up": "one more replica joins",
}
AGE_SECONDS = 2.0
SLOWER_MS = 5.0
CALL_SECONDS = 10.0
LONGEST_JOIN_SECONDS = 10.0
WINDOW_SECONDS = 0.5
"""In which a new replica's share is looked at."""
SETTLE_SECONDS = 0.3
MODEL = "identity"


@dataclass(frozen=True, slots=True)
class Seen:
    """One situation in one block. Times in milliseconds, CPU in microseconds a call; None where it does not apply."""

    block: int
    arm: str
    balancer: str
    event: str
    calls: int
    per_second: float
    shares: list[float]
    """Of each replica; empty over restarts, which forget what they counted."""
    largest: float | None
    jain: float | None
    p50_ms: float | None
    p99_ms: float | None
    failed: dict[str, int] = field(default_factory=dict)
    balancer_cpu_us: float | None = None
    """Of the balancer's own process."""
    client_cpu_us: float = 0.0
    joined_s: float | None = None
    """From the moment when the new replica was ready until it had its share."""


@dataclass(slots=True)
class Way:
    """How the caller reaches the replicas."""

    target: Target
    envoy: Envoy | None
    file: Path | None
    kind: str

    def follow(self, replicas: Sequence[ReplicaProcess]) -> None:
        """Tell the balancer which replicas there are."""
        if self.envoy is not None:
            self.envoy.follow(replicas)
        if self.file is not None:
            new = self.file.with_suffix(".new")
            new.write_text("".join(f"{getattr(replica, self.kind)}\n" for replica in replicas))
            new.replace(self.file)


@contextmanager
def way_to(balancer: str, kind: str, replicas: Sequence[ReplicaProcess], log: IO[bytes]) -> Iterator[Way]:
    """A balancer of that kind in front of the replicas."""
    with tempfile.TemporaryDirectory(prefix="crossover-fleet-") as folder:
        if balancer in ("none", "client"):
            file = Path(folder, "replicas") if balancer == "client" else None
            where = f"@{file}" if file is not None else getattr(replicas[0], kind)
            way = Way(Target(rest=where) if kind == "rest" else Target(grpc=where), None, file, kind)
            way.follow(replicas)
            yield way
            return
        envoy = Envoy("l7" if balancer == "l7" else "l4", replicas, Path(folder), log)
        try:
            yield Way(Target(envoy.grpc, envoy.rest), envoy, None, kind)
        finally:
            envoy.stop()


async def seen(
    fleet: Fleet, block: int, arm: str, balancer: str, event: str, *, callers: int, seconds: float, log: IO[bytes]
) -> Seen:
    """Load by `callers` that share one client of the arm, while the event happens; afterwards all is as before."""
    kind = "rest" if WIRES[arm].kind == "rest" else "grpc"
    with _slower(fleet, event == "slow") as replicas, way_to(balancer, kind, replicas, log) as way:
        client = connect(arm, way.target)
        try:
            await _until_answered(client)
            await asyncio.sleep(SETTLE_SECONDS)
            return await _under_load(client, fleet, way, block, arm, balancer, event, callers, seconds)
        finally:
            await client.close()


async def _under_load(
    client: Inference, fleet: Fleet, way: Way, block: int, arm: str, balancer: str, event: str, callers: int, seconds: float
) -> Seen:  # fmt: skip
    calls, stop, joined = Calls(), asyncio.Event(), None
    before = await counts(fleet.replicas)
    spent = time.process_time_ns(), cpu.family_cpu_ns(way.envoy.pid) if way.envoy else 0
    began = time.monotonic()
    load = asyncio.gather(*(_caller(client, calls, stop) for _ in range(callers)))
    try:
        if event == "restart":
            await _restart(fleet)
        elif event == "scale-up":
            joined = await _join(fleet, way)
        else:
            await asyncio.sleep(seconds)
    finally:
        stop.set()
        took = time.monotonic() - began
        await load
    client_ns = time.process_time_ns() - spent[0]
    balancer_ns = cpu.family_cpu_ns(way.envoy.pid) - spent[1] if way.envoy else None
    done: list[int] = []
    if event != "restart":
        after = await counts(fleet.replicas)
        done = [now - was for now, was in zip(after, [*before, *[0] * (len(after) - len(before))], strict=True)]
    if event == "scale-up":
        await asyncio.to_thread(fleet.remove)
    each = max(1, calls.count)
    return Seen(
        block, arm, balancer, event, calls.count, calls.count / took, shares(done),
        max(shares(done)) if done else None, jain(done) if sum(done) else None,
        quantile(calls.seconds, 0.5) * 1000 if calls.seconds else None,
        quantile(calls.seconds, 0.99) * 1000 if calls.seconds else None,
        dict(calls.failed), balancer_ns / 1000 / each if balancer_ns is not None else None, client_ns / 1000 / each, joined,
    )  # fmt: skip


def _request() -> InferRequest:
    return InferRequest(MODEL, [Tensor.from_array("x", np.ones((1, 64), np.float32))])


async def _caller(client: Inference, calls: Calls, stop: asyncio.Event) -> None:
    while not stop.is_set():
        began = time.monotonic()
        try:
            await client.infer(_request(), CallContext(deadline.after(CALL_SECONDS)))
        except InferenceError as error:
            calls.failed[error.code.name] += 1
            await asyncio.sleep(0.01)  # a caller that is refused at once would be the busiest
        else:
            calls.seconds.append(time.monotonic() - began)


async def _until_answered(client: Inference) -> None:
    """The first call opens connections and is not measured; a balancer may not know its replicas' health yet."""
    until = deadline.after(CALL_SECONDS)
    while True:
        try:
            await client.infer(_request(), CallContext(until))
        except InferenceError:
            if deadline.remaining(until) < 0:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def counts(replicas: Sequence[ReplicaProcess]) -> list[int]:
    """How many inferences each replica has done, as it says itself."""

    async def count(replica: ReplicaProcess) -> int:
        client = connect("rest", Target(rest=replica.rest))
        try:
            found: Any = await client.model_statistics(MODEL, "", CallContext(deadline.after(CALL_SECONDS)))
            return sum(each.inference_count for each in found.model_stats)
        finally:
            await client.close()

    return list(await asyncio.gather(*(count(replica) for replica in replicas)))


async def _restart(fleet: Fleet) -> None:
    for replica in fleet.replicas:
        replica.service.signal(signal.SIGTERM)
        await asyncio.to_thread(replica.service.wait, 20.0)
        replica.start()
        await asyncio.to_thread(replica.service.await_ready)
        await asyncio.sleep(1.5)  # as a rolling update does: the next one goes when this one is known to be back


async def _join(fleet: Fleet, way: Way) -> float | None:
    await asyncio.to_thread(fleet.add)
    began = time.monotonic()
    way.follow(fleet.replicas)
    before = await counts(fleet.replicas)
    while time.monotonic() - began < LONGEST_JOIN_SECONDS:
        await asyncio.sleep(WINDOW_SECONDS)
        after = await counts(fleet.replicas)
        if has_its_share([now - was for now, was in zip(after, before, strict=True)]):
            return time.monotonic() - began
        before = after
    return None


@contextmanager
def _slower(fleet: Fleet, is_slow: bool) -> Iterator[Sequence[ReplicaProcess]]:
    """The replicas, the first of them behind a process that delays its answers where one is to be slow."""
    if not is_slow:
        yield fleet.replicas
        return
    first, *others = fleet.replicas
    grpc, rest = free_ports(2)
    ways = [f"{grpc}:{first.grpc.rpartition(':')[2]}", f"{rest}:{first.rest.rpartition(':')[2]}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "crossover.comparison.fleet.delay", str(SLOWER_MS), *ways], stdin=subprocess.DEVNULL
    )
    try:
        for port in (grpc, rest):
            await_port(port, process, "the process that delays")
        yield [first.behind(f"127.0.0.1:{grpc}", f"http://127.0.0.1:{rest}"), *others]
    finally:
        process.terminate()
        process.wait()
