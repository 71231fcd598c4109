"""The positive control's wrapper: spins a known time in front of the engine when a request asks for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crossover.comparison.design.payloads import BUSY
from crossover.protocol.inference import Wrapper

if TYPE_CHECKING:
    from crossover.model_server.engine import Engine
    from crossover.protocol.inference import CallContext
    from crossover.protocol.messages import InferRequest, InferResponse


class BusyWait(Wrapper):
    """Takes the request parameter `lab_busy_us` away and spins for so many µs; 0 and none cost the same look-up.

    It spins on the event loop, as any work of the server would that holds the interpreter: equal for every wire.
    """

    inner: Engine

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        _wait_as_asked(request)
        return await self.inner.infer(request, context)

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        """See `protocol.inference.Immediate`. Whoever has to wait after that finds the parameter gone."""
        _wait_as_asked(request)
        return self.inner.infer_now(request, context)


def _wait_as_asked(request: InferRequest) -> None:
    microseconds = request.parameters.pop(BUSY, 0)
    if microseconds:
        spin(int(microseconds) * 1000)


def spin(nanoseconds: int) -> None:
    """Use the CPU until `nanoseconds` have passed."""
    until = time.monotonic_ns() + nanoseconds
    while time.monotonic_ns() < until:
        pass
