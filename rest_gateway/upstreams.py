"""The gateway's upstreams: one client for each wire of the registry, made when it is first asked for."""

from __future__ import annotations

import asyncio
import importlib
import logging
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from crossover.clients.balancing.balanced import Balanced
from crossover.protocol.errors import InferenceError, invalid
from crossover.protocol.inference import CallContext, Inference
from crossover.protocol.wires import WIRES, Target, connect, modules, wire
from crossover.rest_gateway.prompt import PromptHealth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.protocol.messages import InferRequest, InferResponse

log = logging.getLogger("crossover.gateway")
HEADER = "inference-upstream"
NOT_CHOOSABLE = "this gateway does not let requests choose an upstream; setting GATEWAY_UPSTREAM_HEADER=1 would"
"""Said wherever a request names one, in its header, its query or its body."""


ASK_SECONDS = 0.5


async def _asked(client: Inference) -> None:
    with suppress(InferenceError):
        await client.server_ready(CallContext())


class _Importing(Inference):
    """An upstream before its first use: what it needs is imported in a thread, as others are served meanwhile."""

    def __init__(self, needed: Sequence[str], made: Callable[[], Inference]) -> None:
        self._needed = needed
        self._made = made
        self._making: asyncio.Task[Inference] | None = None

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        return await (await self._client()).infer(request, context)

    async def control(self, method: str, request: Any, context: CallContext) -> Any:
        return await (await self._client()).control(method, request, context)

    async def close(self) -> None:
        if self._making is not None:
            self._making.cancel()

    async def _client(self) -> Inference:
        if self._making is None:
            self._making = asyncio.create_task(self._make())
        try:
            return await asyncio.shield(self._making)
        except Exception:
            self._making = None  # a setting does not do now; the next call looks again
            raise

    async def _make(self) -> Inference:
        for module in self._needed:
            await asyncio.to_thread(importlib.import_module, module)
        return self._made()


class Upstreams:
    """One `Inference` for each name of the registry that was asked for; all belong to one event loop."""

    def __init__(self, default: str, target: Target, unready_reason: Callable[[], str | None] = lambda: None) -> None:
        self.default = wire(default).name
        self._target = target
        self._unready_reason = unready_reason
        self._connected: dict[str, Inference] = {}
        self.balanced: dict[str, Balanced] = {}
        """Those with several replicas."""
        self._asked_at = -math.inf
        self._asking: set[asyncio.Task[None]] = set()

    def get(self, name: str | None = None) -> tuple[str, Inference]:
        """The upstream's name, the default for None, and its client; INVALID_ARGUMENT that lists the names for others."""
        chosen = self.default if name is None else name
        client = self._connected.get(chosen)
        if client is None:
            if chosen not in WIRES:
                raise invalid(f"'{chosen[:40]}' is not an upstream; choose one of {', '.join(WIRES)}")
            client = self._use(chosen, _Importing(modules(chosen, self._target), lambda: self._connect(chosen)))
        return chosen, client

    def _connect(self, name: str) -> Inference:
        inner = connect(name, self._target)
        if isinstance(inner, Balanced):
            self.balanced[name] = inner
        return self._use(name, inner)

    def _use(self, name: str, inner: Inference) -> Inference:
        client = self._connected[name] = PromptHealth(name, inner, self._unready_reason, self._ask_others)
        return client

    def _ask_others(self, asked: str) -> None:
        """Somebody asks whether the gateway is ready: let each other client find out whether its service is, too.

        One that is leaving keeps its gRPC connections until it stops, and grpcio cancels calls that meet that moment; a
        client that hears of it goes to a fresh connection (`UnaryTransport.renew`).
        """
        now = time.monotonic()
        if now - self._asked_at < ASK_SECONDS:
            return
        self._asked_at = now
        for client in [client for name, client in self._connected.items() if name != asked]:
            task = asyncio.create_task(_asked(client))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def close(self) -> None:
        """Close every client; one that fails to is only logged."""
        clients = list(self._connected.values())
        self._connected.clear()
        self.balanced.clear()
        for outcome in await asyncio.gather(*(client.close() for client in clients), return_exceptions=True):
            if isinstance(outcome, Exception):
                log.warning("an upstream did not close well: %s", outcome)
