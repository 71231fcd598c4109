"""The gateway's upstreams: one client for each wire of the registry, made when it is first asked for."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from crossover.protocol.wires import Target, connect, wire
from crossover.rest_gateway.prompt import PromptHealth

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.protocol.inference import Inference

log = logging.getLogger("crossover.gateway")
HEADER = "inference-upstream"


class Upstreams:
    """One `Inference` for each name of the registry that was asked for; all belong to one event loop."""

    def __init__(self, default: str, target: Target, is_draining: Callable[[], bool] = lambda: False) -> None:
        self.default = wire(default).name
        self._target = target
        self._is_draining = is_draining
        self._connected: dict[str, Inference] = {}

    def get(self, name: str | None = None) -> tuple[str, Inference]:
        """The upstream's name, the default for None, and its client; INVALID_ARGUMENT that lists the names for others."""
        chosen = self.default if name is None else name
        client = self._connected.get(chosen)
        if client is None:
            client = PromptHealth(chosen, connect(wire(chosen).name, self._target), self._is_draining)
            self._connected[chosen] = client
        return chosen, client

    async def close(self) -> None:
        """Close every client; one that fails to is only logged."""
        clients = list(self._connected.values())
        self._connected.clear()
        for outcome in await asyncio.gather(*(client.close() for client in clients), return_exceptions=True):
            if isinstance(outcome, Exception):
                log.warning("an upstream did not close well: %s", outcome)
