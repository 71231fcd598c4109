"""The FastAPI half is built by its first request; what runs beside it runs from the start."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from crossover.rest_gateway import lazy_app
from crossover.rest_gateway.lazy_app import LazyApp


@pytest.fixture(autouse=True)
def no_collection(monkeypatch):
    """Tests share their process, whose garbage collection is left as it is."""
    monkeypatch.setattr(lazy_app, "settle_garbage_collection", lambda: None)


class Half:
    """Counts how often it was built, and by which thread."""

    def __init__(self):
        self.built, self.asked, self.alive = [], [], False

    def build(self):
        self.built.append(threading.current_thread())
        return self.answer

    async def answer(self, scope, receive, send):
        self.asked.append(scope["path"])

    @asynccontextmanager
    async def running(self):
        self.alive = True
        yield
        self.alive = False


async def ask(app, path):
    await app({"type": "http", "path": path}, None, None)


async def test_it_is_built_once_and_by_a_thread():
    """Requests that come together wait for one and the same; the event loop goes on meanwhile."""
    half = Half()
    app = LazyApp(half.build, half.running())
    await asyncio.gather(*(ask(app, f"/{number}") for number in range(3)))
    await ask(app, "/later")
    assert sorted(half.asked) == ["/0", "/1", "/2", "/later"]
    [thread] = half.built
    assert thread is not threading.main_thread()


async def test_starting_and_ending_builds_nothing():
    """The store and its queue run in a gateway that nobody asks for them."""
    half = Half()
    asked, told = asyncio.Queue(), asyncio.Queue()
    life = asyncio.create_task(LazyApp(half.build, half.running())({"type": "lifespan"}, asked.get, told.put))
    for kind, alive in (("startup", True), ("shutdown", False)):
        asked.put_nowait({"type": f"lifespan.{kind}"})
        assert await told.get() == {"type": f"lifespan.{kind}.complete"}
        assert half.alive is alive
    await life
    assert half.built == []


async def test_who_leaves_while_it_is_built_takes_nothing_along():
    """A caller that gives up does not end what others wait for."""
    half, go = Half(), threading.Event()

    def build():
        go.wait(10)
        return half.build()

    app = LazyApp(build, half.running())
    first, second = (asyncio.create_task(ask(app, path)) for path in ("/first", "/second"))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    await second
    assert half.asked == ["/second"]
