"""Questions that an upstream has to answer soon, or the gateway answers for it."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference, Wrapper
from crossover.protos import inference as pb
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crossover.protocol.messages import InferRequest, InferResponse

T = TypeVar("T")

PROMPT_SECONDS = 0.8
"""Whoever asks the gateway whether it is ready, or what models there are, gets an answer within a second."""
LEAVING_SECONDS = 2.0
"""A service that says no after it said yes is leaving and still answers: so long its balancer may take to lead elsewhere,
and gateways that called themselves unready together would make an outage of it."""
_HEALTH = frozenset({"ServerLive", "ServerReady", "ModelReady"})
_CALLERS_OWN = frozenset({Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.UNAUTHENTICATED, Code.PERMISSION_DENIED})


async def promptly(ask: Callable[[CallContext], Awaitable[T]], context: CallContext, upstream: str) -> T:
    """The answer to `ask` within `PROMPT_SECONDS`, whatever the upstream does: stopped, half-open, or a black hole.

    UNAVAILABLE with the reason where it gives none, and for every failure that is not the caller's own.
    """
    answer = await _in_time(ask, context)
    if answer is None:
        raise _silent(upstream)
    return answer


async def _in_time(ask: Callable[[CallContext], Awaitable[T]], context: CallContext) -> T | None:
    """As `promptly`, and None where the upstream said nothing."""
    limited = replace(context, deadline=min(context.deadline, deadline.after(PROMPT_SECONDS)))
    try:
        with TimeLimit(limited.deadline):
            return await ask(limited)
    except TimeoutError:
        return None
    except InferenceError as error:
        if error.code in _CALLERS_OWN:
            raise
        if error.code is Code.DEADLINE_EXCEEDED or not error.message:
            return None
        raise InferenceError(Code.UNAVAILABLE, error.message) from None


def _silent(upstream: str) -> InferenceError:
    return InferenceError(Code.UNAVAILABLE, f"upstream '{upstream}' did not answer within {PROMPT_SECONDS:g} s")


class PromptHealth(Wrapper):
    """Health is answered promptly, and with no where the gateway itself is not ready.

    A question about readiness that a starved service answers too late does not make the gateway unready while calls are
    answered: two gateways that both left their balancer for one slow answer would make an outage of it.
    """

    def __init__(
        self, name: str, inner: Inference, unready_reason: Callable[[], str | None], asked: Callable[[str], None]
    ) -> None:
        """`unready_reason`: the gateway's own. `asked` is told the name when somebody asks for readiness."""
        super().__init__(inner)
        self._asked = asked
        self._name = name
        self._ready_at = -math.inf
        self._unready_reason = unready_reason
        self._answered = 0
        """Calls that succeeded."""
        if (infer_now := getattr(inner, "infer_now", None)) is not None:
            self.infer_now = infer_now

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        response = await self.inner.infer(request, context)
        self._answered += 1
        return response

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        if method not in _HEALTH:
            return await self.inner.control(method, request, context)
        if method == "ServerReady":
            return await self._readiness(request, context)
        return await promptly(lambda limited: self.inner.control(method, request, limited), context, self._name)

    async def _readiness(self, request: Any, context: CallContext) -> Any:
        """The service's own answer; where it comes too late, whether calls were answered since it was asked for."""
        if (reason := self._unready_reason()) is not None:
            raise InferenceError(Code.UNAVAILABLE, reason)
        self._asked(self._name)
        answered = self._answered
        reply = await _in_time(lambda limited: self.inner.control("ServerReady", request, limited), context)
        if reply is None:
            if self._answered == answered or self._ready_at == -math.inf:
                raise _silent(self._name)
            return pb.ServerReadyResponse(ready=True)
        now = time.monotonic()
        if reply.ready:
            self._ready_at = now
        elif now - self._ready_at < LEAVING_SECONDS:
            reply.ready = True
        else:
            self._ready_at = -math.inf
        return reply
