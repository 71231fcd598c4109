"""Joined calls are never wrong: opted in, cut apart exactly, and nobody suffers for a neighbour."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from crossover.clients.coalescing import Coalescing
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.inference import CallContext
from crossover.protocol.joining import rows_allowed
from crossover.protocol.messages import InferRequest, InferResponse, RequestedOutput
from crossover.protocol.tensors import Tensor
from crossover.protocol.timeline import Timeline
from crossover.protos import inference as pb


class Upstream:
    """Doubles its rows, slowly; refuses rows that hold -1; remembers the sizes of its calls."""

    def __init__(self, *, allowed: bool = True, seconds: float = 0.05) -> None:
        self.allowed = allowed
        self.seconds = seconds
        self.calls: list[int] = []
        self.cancelled = 0
        self.gates: list[asyncio.Event] = []
        """Of the first calls; each ends when its own is opened, and not by time."""

    async def model_config(self, name, version, context):
        config = pb.ModelConfig(name=name, max_batch_size=1024 if self.allowed else 0)
        if self.allowed:
            config.dynamic_batching.preferred_batch_size.append(8)
        return config

    async def infer(self, request, context):
        array = request.inputs[0].array
        self.calls.append(len(array))
        context.mark("sent")
        try:
            held = len(self.calls) <= len(self.gates)
            await (self.gates[len(self.calls) - 1].wait() if held else asyncio.sleep(self.seconds))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if (array == -1).any():
            raise invalid("a row holds -1")
        if request.model_name == "mean":
            outputs = [Tensor.from_array("y", array.mean(axis=0, keepdims=True))]
        else:
            outputs = [Tensor.from_array("y", array * 2)]
        return InferResponse(request.model_name, "1", outputs, request.id)

    async def close(self):
        pass


def request(*values: float, model: str = "m", **more) -> InferRequest:
    return InferRequest(model, [Tensor.from_array("x", np.array(values, "f4").reshape(-1, 1))], **more)


async def answered(client, *values: float, **more) -> list[float]:
    context = more.pop("context", None) or CallContext()
    return (await client.infer(request(*values, **more), context)).output("y").array.ravel().tolist()


async def called(upstream: Upstream, times: int) -> None:
    """Return when the upstream has been called so often."""
    async with asyncio.timeout(30):
        while len(upstream.calls) < times:
            await asyncio.sleep(0.005)


async def test_what_arrives_meanwhile_leaves_together():
    """The first call leaves alone at once; those behind it leave as one, and each gets its own rows and id."""
    upstream = Upstream()
    client = Coalescing(upstream)
    answers = await asyncio.gather(*(client.infer(request(n, id=str(n)), CallContext()) for n in range(6)))
    assert [(answer.id, answer.output("y").array.item()) for answer in answers] == [(str(n), 2 * n) for n in range(6)]
    assert upstream.calls == [1, 5]


async def test_one_at_a_time_waits_for_nobody():
    """With nothing under way nothing is joined."""
    upstream = Upstream(seconds=0)
    client = Coalescing(upstream)
    assert [await answered(client, n) for n in range(3)] == [[0], [2], [4]]
    assert upstream.calls == [1, 1, 1]


async def test_only_with_the_models_permission():
    """A model without dynamic_batching and max_batch_size is never joined."""
    upstream = Upstream(allowed=False)
    client = Coalescing(upstream)
    await asyncio.gather(*(answered(client, n) for n in range(4)))
    assert upstream.calls == [1, 1, 1, 1]


async def test_rows_are_bounded():
    """At most the preferred batch size is gathered, and requests of several rows stay whole."""
    upstream = Upstream()
    client = Coalescing(upstream)
    got = await asyncio.gather(*(answered(client, n, n + 0.5, n + 0.25) for n in range(6)))
    assert got == [[2 * n, 2 * n + 1, 2 * n + 0.5] for n in range(6)]
    assert upstream.calls == [3, 6, 6, 3]


async def test_a_bad_neighbour_spoils_nothing():
    """When a joined call is refused, each is done again alone and only the guilty one is told."""
    client = Coalescing(Upstream())
    results = await asyncio.gather(*(answered(client, n) for n in (0, 1, -1, 3)), return_exceptions=True)
    assert [results[0], results[1], results[3]] == [[0], [2], [6]]
    assert isinstance(results[2], InferenceError)
    assert results[2].code is Code.INVALID_ARGUMENT


async def test_a_model_whose_rows_interact_is_answered_alone():
    """An output without a row for each input row is not cut apart: every request is run alone."""
    client = Coalescing(Upstream())
    got = await asyncio.gather(*(answered(client, n, n + 2, model="mean") for n in range(4)))
    assert got == [[n + 1] for n in range(4)]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "other"},
        {"version": "1"},
        {"outputs": [RequestedOutput("y")]},
        {"parameters": {"priority": 1}},
    ],
)
async def test_only_alike_requests_are_joined(other):
    """Another model, version, outputs or any parameter keeps a request out of the company."""
    upstream = Upstream()
    client = Coalescing(upstream)
    model = other.get("model", "m")
    second = request(5, model=model)
    second.model_version = other.get("version", "")
    second.outputs = other.get("outputs", [])
    second.parameters = other.get("parameters", {})
    await asyncio.gather(*(answered(client, n) for n in range(3)), client.infer(second, CallContext()))
    assert sorted(upstream.calls) == [1, 1, 2]


async def test_each_keeps_its_deadline_and_its_cancel():
    """One caller's deadline or cancel ends its own wait and nobody else's."""
    upstream = Upstream()
    upstream.gates = [asyncio.Event(), asyncio.Event()]
    client = Coalescing(upstream)
    first = asyncio.create_task(answered(client, 0))
    await called(upstream, 1)
    hasty = asyncio.create_task(answered(client, 1, context=CallContext(time.monotonic() + 0.1)))
    gone = asyncio.create_task(answered(client, 2))
    patient = asyncio.create_task(answered(client, 3))
    await asyncio.sleep(0)
    upstream.gates[0].set()
    await called(upstream, 2)
    gone.cancel()
    with pytest.raises(InferenceError) as caught:
        await hasty
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    upstream.gates[1].set()
    assert await first == [0]
    assert await patient == [6]
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_when_all_have_gone_the_call_is_cancelled():
    """A joined call that nobody waits for any more is cancelled upstream."""
    upstream = Upstream()
    upstream.gates = [asyncio.Event(), asyncio.Event()]
    client = Coalescing(upstream)
    first = asyncio.create_task(answered(client, 0))
    await called(upstream, 1)
    others = [asyncio.create_task(answered(client, n)) for n in (1, 2)]
    await asyncio.sleep(0)
    upstream.gates[0].set()
    await first
    await called(upstream, 2)
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    async with asyncio.timeout(30):
        while upstream.cancelled != 1:
            await asyncio.sleep(0.005)
    assert await answered(client, 7) == [14]


async def test_timelines_reach_every_caller():
    """Each caller that asked gets the stamps of the call that served it."""
    client = Coalescing(Upstream())
    contexts = [CallContext(timeline=Timeline()) for _ in range(3)]
    await asyncio.gather(*(answered(client, n, context=context) for n, context in enumerate(contexts)))
    assert all("sent" in context.timeline.stamps for context in contexts)


def test_permission_comes_from_the_configuration():
    """Both settings must be there; the preferred size bounds what is gathered, 64 rows by default."""
    config = pb.ModelConfig(max_batch_size=65536)
    assert rows_allowed(config) == 0
    config.dynamic_batching.SetInParent()
    assert rows_allowed(config) == 64
    config.dynamic_batching.preferred_batch_size.extend([4, 16])
    assert rows_allowed(config) == 16
    config.max_batch_size = 8
    assert rows_allowed(config) == 8
    config.max_batch_size = 0
    assert rows_allowed(config) == 0
