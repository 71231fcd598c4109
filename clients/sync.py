"""The same client for scripts without an event loop; the calls run on one loop in a thread of its own.

Waiting and not waiting::

    with connect_sync("rest", rest="http://127.0.0.1:8000") as client:
        answer = client.infer("digits", {"x": pixels}, timeout=1.0)            # waits for this answer

        pending = client.submit("digits", {"x": pixels})                       # does not wait
        do_something_else()
        answer = pending.result()
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from crossover.clients.client import Answer, Client, ModelInfo, ModelStatus, Value, Where, connect

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from concurrent.futures import Future
    from typing import Self, Unpack

T = TypeVar("T")


class _LoopThread:
    """One event loop in a daemon thread, shared by every `SyncClient` of the process: gRPC wants its objects on one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="crossover-clients", daemon=True).start()
            return self._loop


_THREAD = _LoopThread()


def connect_sync(wire: str = "grpc", *, timeout: float | None = None, **where: Unpack[Where]) -> SyncClient:
    """A client for scripts; the arguments are those of `connect`."""
    return SyncClient(connect(wire, timeout=timeout, **where))


class SyncClient:
    """`Client` with methods that wait, and `submit`, which does not. Safe to use from several threads."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def infer(self, model: str, inputs: Mapping[str, Value], **options: Any) -> Answer:
        """Run `model` and wait for its answer; the arguments are those of `Client.infer`."""
        return self._wait(self._client.infer(model, inputs, **options))

    def submit(self, model: str, inputs: Mapping[str, Value], **options: Any) -> Future[Answer]:
        """Start the call and go on; `result()` waits for its answer, `cancel()` gives up on it."""
        return _THREAD.start(self._client.infer(model, inputs, **options))

    def live(self, timeout: float | None = None) -> bool:
        return self._wait(self._client.live(timeout))

    def ready(self, model: str = "", version: str = "", timeout: float | None = None) -> bool:
        return self._wait(self._client.ready(model, version, timeout))

    def models(self, *, ready: bool = False, timeout: float | None = None) -> list[ModelStatus]:
        return self._wait(self._client.models(ready=ready, timeout=timeout))

    def metadata(self, model: str, version: str = "", timeout: float | None = None) -> ModelInfo:
        return self._wait(self._client.metadata(model, version, timeout))

    def close(self) -> None:
        self._wait(self._client.close())

    @staticmethod
    def _wait(work: Coroutine[Any, Any, T]) -> T:
        pending = _THREAD.start(work)
        try:
            return pending.result()
        except BaseException:
            pending.cancel()
            raise
