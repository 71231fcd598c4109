"""One of several engines of a model server, and all of them where a call concerns the server as a whole.

- Load, unload and regions of shared memory: done when every worker did; a sentence says which did not. One that is just
  starting does them from the journal, before it is ready.
- Statistics are summed; a model version is READY when it is at every worker.
- Ready: this worker is, and at the start all of them.

Workers ask each other by gRPC on Unix sockets that nobody else can reach.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from crossover.clients.balancing import everywhere, lanes
from crossover.endpoints.control_policy import ControlPolicy
from crossover.endpoints.grpc.lean import LeanListener
from crossover.endpoints.grpc.servicer import GrpcOptions
from crossover.model_server.journal import SHARED_CALLS, Journal
from crossover.protocol import deadline
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.wires import UNIX, Target, connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from crossover.model_server.engine import Engine
    from crossover.model_server.settings import ModelServerSettings
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.service.workers.worker import Worker

log = logging.getLogger("crossover.model_server")
T = TypeVar("T")

SOCKET = "control"
_ANSWER_SECONDS = 1.0
"""A worker that says nothing for so long is left out of what is merged."""


class EveryWorker(Inference):
    """`engine` for what runs models; the others too for `SHARED_CALLS` and for what is merged."""

    def __init__(self, engine: Engine, worker: Worker, settings: ModelServerSettings) -> None:
        self._engine = engine
        self._worker = worker
        self._limit = settings.max_message_bytes
        options = GrpcOptions(2 * self._limit, settings.default_timeout_ms, ControlPolicy(shared_memory=True))
        self._door = LeanListener(engine, f"{UNIX}{worker.socket(SOCKET)}", 0, None, options)
        self._journal = Journal(worker.folder)
        self._own = _Own(worker.index, engine)
        self._others = [
            _Other(index, f"{UNIX}{worker.socket(SOCKET, index)}", 2 * self._limit) for index in worker.others
        ]

    async def start(self) -> None:
        """Do what the others were told before this worker was there, and be asked from now on."""
        async with self._journal.alone():
            for method, request, moment in self._journal.calls():
                if method == "RepositoryModelUnload" and await asyncio.to_thread(self._is_newer, request, moment):
                    continue
                try:
                    await self._engine.control(method, request, CallContext())
                except InferenceError as error:
                    log.warning(
                        "%s, which the other workers have done, failed here: %s",
                        SHARED_CALLS[method].told(request),
                        error,
                    )
            await self._door.start()

    def _is_newer(self, request: Any, moment: float) -> bool:
        """Whether the model's files changed after it was unloaded: then the others serve it again (`poll`)."""
        repository = self._engine.repository
        if repository.control != "poll":
            return False
        folder = repository.path / request.model_name
        with suppress(OSError):
            return max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) > moment
        return False

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        return await self._engine.infer(request, context)

    def infer_now(self, request: InferRequest, context: CallContext) -> InferResponse | None:
        """See `protocol.inference.Immediate`."""
        return self._engine.infer_now(request, context)

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        if method in SHARED_CALLS:
            return await self._everywhere(method, request, context)
        reply = await self._engine.control(method, request, context)
        if method in everywhere.MERGED:
            return await self._merged(method, request, context, reply)
        if method == "ServerReady":
            reply.ready = reply.ready and self._worker.all_were_ready
        elif method == "ServerMetadata":
            reply.extensions.append(lanes.extension(self._worker.index, self._worker.count))
        return reply

    async def close(self) -> None:
        """Answer the others no more; the engine is its owner's to close."""
        await self._door.stop(0)

    async def _everywhere(self, method: str, request: Any, context: CallContext) -> Any:
        done = False

        async def ask(inference: Inference) -> Any:
            nonlocal done
            reply = await inference.control(method, request, replace(context))
            done = True
            return reply

        async with self._journal.alone():
            try:
                return await everywhere.all_of(
                    [self._own, *self._others], ask, SHARED_CALLS[method].told(request), "workers"
                )
            finally:
                if done:
                    self._journal.note(method, request)

    async def _merged(self, method: str, request: Any, context: CallContext, own: Any) -> Any:
        soon = replace(context, deadline=min(context.deadline, deadline.after(_ANSWER_SECONDS)))
        answers = await everywhere.ask_all(
            self._others, lambda inference: inference.control(method, request, replace(soon))
        )
        answered = [
            (name, reply) for name, reply in answers if reply is not None and not isinstance(reply, InferenceError)
        ]
        return everywhere.MERGED[method](request, [(self._own.address, own), *answered])


class _Own:
    """The worker that asks, as one of those that are asked."""

    def __init__(self, index: int, engine: Engine) -> None:
        self.address = f"worker {index}"
        self._engine = engine

    async def call(self, ask: Callable[[Inference], Awaitable[T]]) -> T:
        return await ask(self._engine)


class _Other:
    """Another worker; connected to for each call, as it may be another process by then."""

    def __init__(self, index: int, target: str, limit: int) -> None:
        self.address = f"worker {index}"
        self._target = Target(grpc=target, max_message_bytes=limit)

    async def call(self, ask: Callable[[Inference], Awaitable[T]]) -> T | None:
        """None when it is not there: it does what the journal says when it comes."""
        client = connect("grpc-lean", self._target)
        try:
            return await ask(client)
        except InferenceError as error:
            if error.unprocessed:
                return None
            raise
        finally:
            await asyncio.shield(client.close())
