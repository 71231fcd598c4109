"""`dynamic_batching`'s queue policies mean what Triton's documentation says; the order, the bounds and the timeouts."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from crossover.model_server.config import from_text
from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.model_error import ModelError
from crossover.model_server.queue_policy import QueuePolicy
from crossover.model_server.repository import Repository
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor

X = Tensor.from_array("x", np.ones((1, 16), "f4"))
LONG, SHORT = 2000, 1


def work(turns: int, **parameters) -> InferRequest:
    return InferRequest("work", [X, Tensor.from_array("turns", np.array([turns]))], parameters=parameters)


class Line:
    """A server of one worker with the model `work`; notes the order in which requests are answered."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.order: list[str] = []
        self.errors: dict[str, InferenceError] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def ask(self, name: str, turns: int = SHORT, until: float = float("inf"), **parameters) -> None:
        """Send a request and let it reach its place in the queue."""
        self._tasks.append(asyncio.create_task(self._one(name, work(turns, **parameters), until)))
        await asyncio.sleep(0)

    async def _one(self, name: str, request: InferRequest, until: float) -> None:
        try:
            await self.engine.infer(request, CallContext(until))
            self.order.append(name)
        except InferenceError as error:
            self.errors[name] = error

    async def done(self) -> None:
        await asyncio.gather(*self._tasks)


@pytest.fixture
def open_line(tmp_path, root):
    """Opens a line over `work` with the text as its config.pbtxt."""
    opened: list[Engine] = []

    async def start(config: str) -> Line:
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "1").symlink_to(root / "models" / "work" / "1")
        (tmp_path / "work" / "config.pbtxt").write_text(config)
        engine = Engine(Repository(tmp_path, "none"), Executor(workers=1))
        await engine.repository.start()
        opened.append(engine)
        return Line(engine)

    yield start
    for engine in opened:
        engine.executor.close()


PRIORITIES = "dynamic_batching { priority_levels: 3 default_priority_level: 2 }"


async def test_priorities_come_first(open_line):
    """Level 1 runs before 2 before 3; no priority, 0, and a level that does not exist are the default level."""
    line = await open_line(PRIORITIES)
    await line.ask("under way", LONG)
    await line.ask("third", priority=3)
    await line.ask("default")
    await line.ask("zero", priority=0)
    await line.ask("beyond", priority=9)
    await line.ask("first", priority=1)
    await line.done()
    assert line.order == ["under way", "first", "default", "zero", "beyond", "third"]


@pytest.mark.parametrize("value", [-1, "high", 1.5, True])
async def test_a_priority_is_an_integer(open_line, value):
    """Anything else is refused with a sentence, whether the model has levels or not."""
    line = await open_line("")
    await line.ask("odd", priority=value)
    await line.done()
    assert line.errors["odd"].code is Code.INVALID_ARGUMENT
    assert "priority" in line.errors["odd"].message


async def test_max_queue_size(open_line):
    """What comes while so many wait is refused as overload; what runs does not count; other levels have room of their own."""
    line = await open_line(
        "dynamic_batching { priority_levels: 2 default_priority_level: 2 default_queue_policy { max_queue_size: 2 } "
        "priority_queue_policy { key: 1 value { max_queue_size: 1 } } }"
    )
    await line.ask("under way", LONG)
    for name in ("a", "b", "c"):
        await line.ask(name)
    for name in ("urgent", "too urgent"):
        await line.ask(name, priority=1)
    await line.done()
    assert line.order == ["under way", "urgent", "a", "b"]
    assert {name: error.code for name, error in line.errors.items()} == {
        "c": Code.OVERLOADED,
        "too urgent": Code.OVERLOADED,
    }
    assert "Exceeds maximum queue size" in line.errors["c"].message


REJECT = "dynamic_batching { default_queue_policy { default_timeout_microseconds: %d %s } }"


async def test_timeout_rejects(open_line):
    """REJECT: what waits longer is refused when its time is over, although the model is still busy."""
    line = await open_line(REJECT % (20_000, "timeout_action: REJECT"))
    began = time.monotonic()
    await line.ask("under way", 20_000)
    await line.ask("impatient")
    while "impatient" not in line.errors:
        await asyncio.sleep(0.001)
    assert not line.order, "the model was done before the timeout"
    assert time.monotonic() - began >= 0.02
    assert line.errors["impatient"].code is Code.OVERLOADED
    assert "timeout" in line.errors["impatient"].message
    await line.done()
    assert line.order == ["under way"]


async def test_timeout_delays(open_line):
    """DELAY: what waits longer goes behind all others, and is answered in the end."""
    line = await open_line(REJECT % (10_000_000, "timeout_action: DELAY allow_timeout_override: true"))
    await line.ask("under way", 20_000)
    await line.ask("overtaken", timeout=20_000)
    await asyncio.sleep(0.03)
    assert not line.order, "the model was done before the timeout"
    await line.ask("later")
    await line.done()
    assert line.order == ["under way", "later", "overtaken"]


@pytest.mark.parametrize(("override", "refused"), [("allow_timeout_override: true", True), ("", False)])
async def test_a_request_may_shorten_its_wait_where_that_is_allowed(open_line, override, refused):
    """The parameter `timeout` in microseconds counts for the queue with allow_timeout_override alone."""
    policy = QueuePolicy.of(from_text(REJECT % (10_000_000, override), "m"))
    assert policy.default.waits({"timeout": 20_000}) == (0.02 if refused else 10.0)
    assert policy.default.waits({"timeout": 20_000_000}) == 10.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("priority_levels: 3", "default_priority_level"),
        ("priority_levels: 3 default_priority_level: 4", "default_priority_level"),
        ("priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 3 value { } }", "level 3"),
    ],
)
def test_levels_that_do_not_exist_are_refused(text, says):
    """A policy for a level that is none says which field is wrong."""
    with pytest.raises(ModelError, match=says):
        QueuePolicy.of(from_text(f"dynamic_batching {{ {text} }}", "m"))
