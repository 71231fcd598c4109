"""Calls in the open loop through one client: they leave when they are due, whatever became of earlier ones.

A call's time counts from the moment it was due (no coordinated omission). Each brings values of its own, and its answer is
held against what they must give, so that an answer that belongs to another call counts as wrong.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from crossover.protocol import deadline
from crossover.protocol.errors import InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.protocol.inference import Inference

CALL_SECONDS = 1.0
"""Every call's deadline."""
_SLACK_SECONDS = 0.25
"""What a client gets beyond the deadline before its call is given up from outside."""
RIGHT, WRONG = "right", "WRONG"
WIDTH = 64


@dataclass(frozen=True, slots=True)
class Ended:
    """One call. Seconds on the monotonic clock."""

    due: float
    began: float
    ended: float
    outcome: str
    """`RIGHT`, `WRONG`, or our code of its error."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request and what it must be answered with."""

    request: InferRequest
    answer: np.ndarray


def identity(number: int) -> Question:
    """The model gives back what it gets: values that no other call has."""
    x = np.full((1, WIDTH), number, np.float32)
    return Question(InferRequest("identity", [Tensor.from_array("x", x)]), x)


def work(number: int, turns: int) -> InferRequest:
    """A model that takes its time: a loop of so many turns."""
    x = np.full((1, 16), number + 1, np.float32)
    inputs = [Tensor.from_array("x", x), Tensor.from_array("turns", np.array([turns], np.int64))]
    return InferRequest("work", inputs)


@dataclass(slots=True)
class Calls:
    """The calls of one situation; `rate` (a second) and `question` may change while it runs."""

    client: Inference
    rate: float
    question: Callable[[int], Question]
    ended: list[Ended] = field(default_factory=list)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`, then until the last call ended."""
        due, number = time.monotonic(), 0
        while not stop.is_set():
            await asyncio.sleep(due - time.monotonic())
            task = asyncio.create_task(self._call(self.question(number), due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            due, number = due + 1 / self.rate, number + 1
        await asyncio.gather(*self._under_way)

    async def _call(self, question: Question, due: float) -> None:
        began = time.monotonic()
        outcome = await outcome_of(self.client, question, due + CALL_SECONDS)
        self.ended.append(Ended(due, began, time.monotonic(), outcome))


async def outcome_of(client: Inference, question: Question, until: float) -> str:
    """What one call comes to; whatever its client raises is a failure of the call."""
    try:
        async with asyncio.timeout(max(0.0, deadline.remaining(until)) + _SLACK_SECONDS):
            reply = await client.infer(question.request, CallContext(until))
        right = np.array_equal(reply.outputs[0].array, question.answer)
    except InferenceError as error:
        return error.code.name
    except TimeoutError:
        return "DEADLINE_EXCEEDED"
    except Exception:  # noqa: BLE001 - a stock library's own exception is what its user gets
        return "UNEXPECTED"
    if deadline.remaining(until) < -_SLACK_SECONDS:
        return "DEADLINE_EXCEEDED"
    return RIGHT if right else WRONG


def first_right(ended: Sequence[Ended], moment: float) -> float | None:
    """Seconds from a moment to the first right answer to a call that began after it; None: there was none."""
    found = [call.ended - moment for call in ended if call.began >= moment and call.outcome == RIGHT]
    return min(found, default=None)
