"""A call over REST that its caller gives up ends the work on the server's side at once."""

from __future__ import annotations

import asyncio

import numpy as np

from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor
from crossover.protocol.wires import Target, connect
from tests.endpoints.rest.service import served


async def test_a_call_that_is_given_up_is_reset():
    """Our client's connection is reset: the server does not take it for one that only sends no more."""
    async with served() as service, asyncio.timeout(30):
        client = connect("rest-binary", Target(grpc="", rest=service.url))
        tensor = Tensor.from_array("x", np.ones((1, 2), np.float32))
        call = asyncio.create_task(client.infer(InferRequest("hang", [tensor]), CallContext()))
        await service.inference.started.wait()
        connection = next(iter(service.listener.http.connections))
        call.cancel()
        await service.inference.cancelled.wait()
        assert connection._half_closed is None
        await client.close()
