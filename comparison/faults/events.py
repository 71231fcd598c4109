"""The faults: what each does to a service that is under load, and when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.faults.calls import Calls, Question, identity
from crossover.comparison.faults.server import DRAIN_SECONDS, Server, proxied
from crossover.comparison.network.profiles import Profile
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.network.link import Link
    from crossover.comparison.torture.frozen import Proxy
    from crossover.protocol.inference import Inference

RATE = 50.0
"""Calls a second in every event but `overload`."""
AWAY_SECONDS = 0.5
FACTOR = 2.0
"""Times the capacity, in `overload`."""
LOSSY = Profile("lossy", 1.0, "1 ms round trip, one packet in twenty lost each way", loss=0.05)
_WELL = Profile("well", 1.0, "the same without loss")
SLOW_READERS, SLOW_REPLY_BYTES = 8, 2 << 20
_STOP_SECONDS = 20.0


@dataclass(slots=True)
class Scene:
    """What an event may touch."""

    server: Server
    upstream: str
    """The wire, as the registry calls it."""
    calls: Calls
    seconds: float
    """How long a fault lasts that has a length."""
    proxies: list[Proxy]
    """Between the callers and the service, in `half-open`."""
    link: Link | None
    seed: int
    overload: Overload | None


@dataclass(frozen=True, slots=True)
class Overload:
    """The same for all arms of a block."""

    turns: int
    capacity: float
    """Answers a second."""
    questions: Sequence[Question]


async def _kill(scene: Scene) -> float:
    scene.server.service.kill()
    await asyncio.sleep(AWAY_SECONDS)
    return await _again(scene)


async def _restart(scene: Scene) -> float:
    scene.server.service.signal(signal.SIGTERM)
    await asyncio.to_thread(scene.server.service.wait, _STOP_SECONDS)
    return await _again(scene)


async def _again(scene: Scene) -> float:
    scene.server.start()
    await asyncio.to_thread(scene.server.service.await_ready)
    return time.monotonic()


async def _half_open(scene: Scene) -> float:
    for proxy in scene.proxies:
        proxy.freeze()
    return time.monotonic()


async def _loss(scene: Scene) -> float:
    assert scene.link is not None
    scene.link.use(LOSSY, 0.0, scene.seed)
    try:
        await asyncio.sleep(scene.seconds)
    finally:
        well(scene.link, scene.seed)
    return time.monotonic()


def well(link: Link, seed: int) -> None:
    """The link as it is when nothing is wrong."""
    link.use(_WELL, 0.0, seed)


async def _overload(scene: Scene) -> float:
    assert scene.overload is not None
    scene.calls.rate = FACTOR * scene.overload.capacity
    await asyncio.sleep(scene.seconds)
    scene.calls.rate = usual_rate(scene.overload)
    return time.monotonic()


async def _slow_reader(scene: Scene) -> float:
    """Others on this wire ask for large replies and hardly read them; our callers have connections of their own."""
    with proxied(scene.server.target) as (target, proxies):
        for proxy in proxies:
            proxy.trickle()
        client = connect(scene.upstream, target)
        readers = [asyncio.create_task(_read(client, scene.seconds)) for _ in range(SLOW_READERS)]
        await asyncio.sleep(scene.seconds)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        ended = time.monotonic()
        with contextlib.suppress(InferenceError, OSError, TimeoutError):
            await asyncio.wait_for(client.close(), 1.0)
    return ended


async def _read(client: Inference, seconds: float) -> None:
    inputs = [
        Tensor.from_array("x", np.arange(64, dtype=np.uint8)),
        Tensor.from_array("size", np.array([SLOW_REPLY_BYTES], np.int64)),
    ]
    context = CallContext(time.monotonic() + seconds)
    await client.infer(InferRequest("sized", inputs), context)


@dataclass(frozen=True, slots=True)
class Event:
    """A fault; `do` gives the moment at which its cause was over."""

    says: str
    do: Callable[[Scene], Awaitable[float]]


EVENTS = {
    "kill": Event(f"kill -9 of the service, started again {AWAY_SECONDS:g} s later", _kill),
    "restart": Event(f"SIGTERM, a drain of {DRAIN_SECONDS:g} s, and started again at once", _restart),
    "half-open": Event("the connections that exist carry nothing any more, new ones do", _half_open),
    "loss": Event(LOSSY.summary, _loss),
    "overload": Event(f"{FACTOR:g} times what a model of some 20 ms can answer", _overload),
    "slow-reader": Event(
        f"others ask for {SLOW_READERS} replies of {SLOW_REPLY_BYTES >> 20} MB and hardly read them", _slow_reader
    ),
}


def usual_rate(overload: Overload | None) -> float:
    """Calls a second before and after the fault: half of the capacity where the model takes its time."""
    return overload.capacity / 2 if overload else RATE


def question_of(overload: Overload | None) -> Callable[[int], Question]:
    if overload is None:
        return identity
    questions = overload.questions
    return lambda number: questions[number % len(questions)]
