"""A call's id comes back in its trailing metadata: the caller's always, and one of ours with every failure."""

from __future__ import annotations

import logging
import re

import grpc
import pytest

from crossover.protocol.codecs.protobuf import codec
from crossover.protos import inference as pb
from tests.endpoints.rest.service import FakeInference
from tests.grpc_service import listening, request

MADE = re.compile(r"[0-9a-f]{24}")


async def called(target, model: str, *metadata: tuple[str, str]) -> tuple[grpc.StatusCode, str | None]:
    """The status, and the id in the trailers."""
    async with grpc.aio.insecure_channel(target.grpc) as channel:
        call = channel.unary_unary(f"/{pb.SERVICE}/ModelInfer")(
            codec.encode_request(request(model=model)), metadata=metadata
        )
        try:
            await call
        except grpc.aio.AioRpcError:
            pass
        return await call.code(), dict(await call.trailing_metadata()).get("x-request-id")


@pytest.mark.parametrize("model", ["echo", "nope", "bug"])
async def test_the_callers_id_comes_back(model):
    """However the call ends."""
    async with listening(FakeInference()) as target:
        assert (await called(target, model, ("x-request-id", "mine-7")))[1] == "mine-7"


async def test_a_failure_has_an_id_and_the_log_says_the_same(caplog):
    """An id is made for a failure that has none, and what the log says of it is found by the id."""
    with caplog.at_level(logging.ERROR, "crossover.grpc"):
        async with listening(FakeInference()) as target:
            missing = await called(target, "nope")
            failed = await called(target, "bug")
    assert (missing[0], failed[0]) == (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL)
    assert MADE.fullmatch(missing[1]) and MADE.fullmatch(failed[1]) and missing[1] != failed[1]
    assert [record.request_id for record in caplog.records if record.name == "crossover.grpc"] == [failed[1]]
