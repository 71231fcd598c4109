"""The start and the end of an ASGI application, beside its requests (ASGI lifespan, spec version 2.0)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossover.transport.http1.asgi import ASGIApp

log = logging.getLogger("crossover.http1")


class Lifespan:
    """`state` is what the application has for its requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.state: dict[str, Any] = {}
        self._questions: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._well: asyncio.Future[bool] | None = None
        """The application's answer to the last question."""
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when the application has started; RuntimeError, and its reason in the log, when it could not."""
        self._running = asyncio.create_task(self._run())
        if not await self._succeeds("startup"):
            raise RuntimeError("the application did not start; the log has the reason")

    async def stop(self) -> None:
        """Return when the application has ended, however well."""
        if self._running is not None and not self._running.done():
            await self._succeeds("shutdown")
            await asyncio.wait({self._running})

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._questions.get, self._hear)
        except Exception:
            if self._well is not None and not self._well.done():
                log.exception("the application failed at its start or end")
                self._well.set_result(False)

    async def _succeeds(self, what: str) -> bool:
        assert self._running is not None
        self._well = asyncio.get_running_loop().create_future()
        self._questions.put_nowait({"type": f"lifespan.{what}"})
        either: set[asyncio.Future[Any]] = {self._well, self._running}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return self._well.done() and self._well.result()

    async def _hear(self, message: Any) -> None:
        if self._well is None or self._well.done():
            raise RuntimeError(f"'{message['type']}' answers nothing")
        failed = message["type"].endswith(".failed")
        if failed:
            log.error("the application failed at its start or end: %s", message.get("message", ""))
        self._well.set_result(not failed)
