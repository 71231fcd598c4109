"""The monolith's wire: the engine in the caller's own process, over the same repository, loaded on first use."""

from __future__ import annotations

import asyncio
from typing import Any

from crossover.model_server.engine import Engine
from crossover.model_server.settings import ModelServerSettings, engine_of
from crossover.protocol import deadline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext, Wrapper
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.wires import WIRES, Target, check_request

_NEEDS_NO_REPOSITORY = {"ServerLive", "ServerMetadata"}


def connect(target: Target) -> InProcess:
    """An engine whose settings are the environment's, changed by `target.options`.

    UNAVAILABLE when a setting does not do: a folder or execution provider that is not there.
    """
    try:
        return InProcess(ModelServerSettings(**target.options))
    except ValueError as error:
        raise InferenceError(Code.UNAVAILABLE, str(error)) from error


class InProcess(Wrapper):
    """Starts the repository at the first call and waits for it; from then on it is the engine."""

    inner: Engine

    def __init__(self, settings: ModelServerSettings) -> None:
        super().__init__(engine_of(settings))
        self._starting: asyncio.Task[None] | None = None
        self._wire = WIRES["inprocess"]

    async def _started(self) -> None:
        if self._starting is None or (self._starting.done() and not self.inner.repository.started):
            self._starting = asyncio.create_task(self.inner.repository.start())
        try:
            await asyncio.shield(self._starting)
        except OSError as error:
            raise InferenceError(
                Code.UNAVAILABLE, f"the model repository can't be read: {error.strerror} (MODEL_REPOSITORY)"
            ) from error

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        if not self.inner.repository.started:
            await self._started()
        context.deadline = min(context.deadline, deadline.from_parameter(request.parameters.get("timeout")))
        check_request(self._wire, request)
        return await self.inner.infer(request, context)

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        """See `protocol.inference.Immediate`."""
        if not self.inner.repository.started:
            return None
        context.deadline = min(context.deadline, deadline.from_parameter(request.parameters.get("timeout")))
        check_request(self._wire, request)
        return self.inner.infer_now(request, context)

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        if method not in _NEEDS_NO_REPOSITORY and not self.inner.repository.started:
            await self._started()
        return await self.inner.control(method, request, context)
