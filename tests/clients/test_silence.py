"""A connection that says nothing: one policy for every wire (transport/silence.py)."""

from __future__ import annotations

import asyncio
import contextlib
import time

import grpc
import numpy as np
import pytest

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import WIRES, Target, connect
from crossover.protos import inference as pb
from tests.freezing import freezing

X = Tensor.from_array("x", np.array([[1.5, -2]], np.float32))
REMOTE = [name for name, wire in WIRES.items() if wire.kind != "process"]
DEFAULT_SECONDS = 60.0
GOAL_SECONDS = 5.0
SLACK_SECONDS = 25.0
"""What a busy machine may add; with it, less than the half of what a call waits that has only its deadline."""


@contextlib.asynccontextmanager
async def client_behind(ports, wire):
    """A client of `wire` whose connections go through proxies that can be frozen; the proxies."""
    async with freezing(ports["grpc"]) as over_grpc, freezing(ports["rest"]) as over_rest:
        target = Target(grpc=f"127.0.0.1:{over_grpc.port}", rest=f"http://127.0.0.1:{over_rest.port}")
        client = connect(wire, target)
        try:
            yield client, (over_grpc, over_rest)
        finally:
            await client.close()


async def infer(client, seconds: float = DEFAULT_SECONDS) -> None:
    answer = await client.infer(InferRequest("identity", [X]), CallContext(deadline.after(seconds)))
    assert answer.outputs[0].array.tolist() == [[1.5, -2]]


@pytest.fixture
def ports(where):
    return {name: int(address.rpartition(":")[2]) for name, address in where.items()}


@pytest.mark.parametrize("wire", REMOTE)
async def test_after_connections_fell_silent_calls_succeed_within_seconds(ports, wire):
    """Callers with the default deadline of a minute, ten a second: the first success comes within five seconds."""
    async with client_behind(ports, wire) as (client, proxies):
        await asyncio.gather(*(infer(client) for _ in range(8)))
        for proxy in proxies:
            proxy.freeze()
        began = time.monotonic()
        calls: set[asyncio.Task] = set()
        while not any(call.done() and call.exception() is None for call in calls):
            calls.add(asyncio.create_task(infer(client)))
            await asyncio.wait(calls, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            assert time.monotonic() - began < GOAL_SECONDS + SLACK_SECONDS
            await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(outcome, InferenceError):
                assert outcome.code is Code.UNAVAILABLE
        await infer(client)


@pytest.mark.parametrize("wire", [name for name in REMOTE if WIRES[name].kind == "grpc" and name != "grpc-coalesced"])
async def test_a_lone_caller_is_told_when_the_service_answers_elsewhere(ports, wire):
    """The call on the silent connection is UNAVAILABLE as soon as a fresh one is answered; it is not sent again."""
    async with client_behind(ports, wire) as (client, proxies):
        await infer(client)
        for proxy in proxies:
            proxy.freeze()
        began = time.monotonic()
        with pytest.raises(InferenceError, match="silent") as caught:
            await infer(client)
        assert caught.value.code is Code.UNAVAILABLE
        assert time.monotonic() - began < GOAL_SECONDS + SLACK_SECONDS
        await infer(client)


@pytest.mark.parametrize("wire", ["grpc", "grpc-lean", "grpc-stream", "rest"])
async def test_a_slow_model_is_not_hurt(ports, wire):
    """A run of several seconds, longer than the limit of silence, is answered, and quick calls beside it too."""
    turns = Tensor.from_array("turns", np.array([180_000]))
    row = Tensor.from_array("x", np.full((1, 16), 0.5, np.float32))
    async with client_behind(ports, wire) as (client, _):
        slow = asyncio.create_task(
            client.infer(InferRequest("work", [row, turns]), CallContext(deadline.after(DEFAULT_SECONDS)))
        )
        while not slow.done():
            await infer(client)
            await asyncio.sleep(0.2)
        assert (await slow).outputs


class Hanging(grpc.GenericRpcHandler):
    """A stock server's service: it answers questions, and inference takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def service(self, details):
        if details.method.endswith("ServerLive"):
            reply = pb.ServerLiveResponse(live=True).SerializeToString()
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: reply)

        def hang(_request, _context):
            time.sleep(self._seconds)
            return pb.ModelInferResponse(model_name="m", model_version="1").SerializeToString()

        return grpc.unary_unary_rpc_method_handler(hang)


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["grpc", "grpc-lean"])
async def test_questions_do_not_make_a_default_server_say_too_many_pings(wire):
    """grpcio's server as it comes, which allows a ping without data once in five minutes: a call of 20 s on a quiet
    connection, and then another, are answered over it.
    """
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(4), handlers=(Hanging(20.0),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = connect(wire, Target(grpc=f"127.0.0.1:{port}"))
    try:
        for _ in range(2):
            answer = await client.infer(InferRequest("m", [X]), CallContext(deadline.after(DEFAULT_SECONDS)))
            assert answer.model_version == "1"
    finally:
        await client.close()
        server.stop(None)
