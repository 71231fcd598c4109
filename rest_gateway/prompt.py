"""Questions that an upstream has to answer soon, or the gateway answers for it."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Inference, Wrapper
from crossover.transport.time_limit import TimeLimit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
    limited = replace(context, deadline=min(context.deadline, deadline.after(PROMPT_SECONDS)))
    try:
        with TimeLimit(limited.deadline):
            return await ask(limited)
    except TimeoutError:
        reason = ""
    except InferenceError as error:
        if error.code in _CALLERS_OWN:
            raise
        reason = "" if error.code is Code.DEADLINE_EXCEEDED else error.message
    raise InferenceError(
        Code.UNAVAILABLE, reason or f"upstream '{upstream}' did not answer within {PROMPT_SECONDS:g} s"
    )


class PromptHealth(Wrapper):
    """Health is answered promptly, and with no where the gateway itself is not ready; inference passes by without a step between."""

    def __init__(
        self, name: str, inner: Inference, unready_reason: Callable[[], str | None], asked: Callable[[str], None]
    ) -> None:
        """`unready_reason`: the gateway's own. `asked` is told the name when somebody asks for readiness."""
        super().__init__(inner)
        self._asked = asked
        self._name = name
        self._ready_at = -math.inf
        self._unready_reason = unready_reason
        self.infer = inner.infer  # type: ignore[method-assign]
        if (infer_now := getattr(inner, "infer_now", None)) is not None:
            self.infer_now = infer_now

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        if method not in _HEALTH:
            return await self.inner.control(method, request, context)
        if method == "ServerReady":
            if (reason := self._unready_reason()) is not None:
                raise InferenceError(Code.UNAVAILABLE, reason)
            self._asked(self._name)
        reply = await promptly(lambda limited: self.inner.control(method, request, limited), context, self._name)
        if method == "ServerReady":
            now = time.monotonic()
            if reply.ready:
                self._ready_at = now
            elif now - self._ready_at < LEAVING_SECONDS:
                reply.ready = True
        return reply
