"""A service that answers a question about readiness too late is still ready while it answers calls."""

from __future__ import annotations

import asyncio

import pytest

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protos import inference as pb
from crossover.rest_gateway import prompt
from crossover.rest_gateway.prompt import PromptHealth


class Starved(Inference):
    """Says whether it is ready as long as it is not late; answers or fails calls whenever it is let."""

    def __init__(self) -> None:
        self.says: bool | None = True
        """None: nothing, for ever."""
        self.asked = asyncio.Event()
        self.failure: InferenceError | None = None

    async def infer(self, request, context):
        if self.failure is not None:
            raise self.failure
        return InferResponse("m", "1", [])

    async def control(self, method, request, context):
        self.asked.set()
        if self.says is None:
            await asyncio.Event().wait()
        return pb.ServerReadyResponse(ready=self.says)

    async def close(self):
        pass


CALL = InferRequest("m", [])
UNAVAILABLE = InferenceError(Code.UNAVAILABLE, "away")


@pytest.fixture
def asked(monkeypatch):
    """Readiness as the gateway tells it: after what the service said first, while it is silent, beside calls."""
    monkeypatch.setattr(prompt, "PROMPT_SECONDS", 0.05)
    monkeypatch.setattr(prompt, "LEAVING_SECONDS", 0.0)

    def answer(first: bool, failure: InferenceError | None = None, *, calls: bool = True) -> bool | str:
        async def told() -> bool | str:
            service = Starved()
            health = PromptHealth("grpc", service, lambda: None, lambda _: None)
            service.says, service.failure = first, failure
            assert await health.server_ready(CallContext()) is first
            service.says = None
            service.asked.clear()
            waiting = asyncio.create_task(health.server_ready(CallContext()))
            await service.asked.wait()
            if calls:
                await asyncio.gather(health.infer(CALL, CallContext()), return_exceptions=True)
            try:
                return await waiting
            except InferenceError as error:
                assert error.code is Code.UNAVAILABLE
                return error.message

        return asyncio.run(told())

    return answer


def test_a_late_answer_beside_calls_that_succeed_is_no_outage(asked):
    """One call that was answered since the question was asked shows that the service is there."""
    assert asked(True) is True


@pytest.mark.parametrize(
    ("first", "failure", "calls"), [(True, None, False), (True, UNAVAILABLE, True), (False, None, True)],
    ids=["no call", "calls fail", "it said no"],
)  # fmt: skip
def test_silence_without_an_answered_call_is_unready(asked, first, failure, calls):
    """Nor do calls make one ready that last said that it is not."""
    assert "did not answer within" in str(asked(first, failure, calls=calls))
