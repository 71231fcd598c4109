"""An ASGI application that is imported and built by its first request, in a thread, while other requests go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crossover.service.process import settle_garbage_collection

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from crossover.endpoints.rest.types import ASGIApp, Receive, Scope, Send


class LazyApp:
    """`build` makes it; `running` is entered from the service's start to its end, whether it is built or not."""

    def __init__(self, build: Callable[[], ASGIApp], running: AbstractAsyncContextManager[None]) -> None:
        self._build = build
        self._running = running
        self._building: asyncio.Task[ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._building is None:
            self._building = asyncio.create_task(asyncio.to_thread(self.built))
        app = self._building.result() if self._building.done() else await asyncio.shield(self._building)
        await app(scope, receive, send)

    def built(self) -> ASGIApp:
        """A new one, imported where that is due. What stays imported is left out of garbage collections, as at the start."""
        app = self._build()
        settle_garbage_collection()
        return app

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._running:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})
