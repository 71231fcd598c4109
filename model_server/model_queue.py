"""One model's waiting requests: by priority level, then in order of arrival; and which of them run together.

Whoever calls these methods holds the executor's lock.
"""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

from crossover.model_server.queue_policy import LevelPolicy, QueuePolicy
from crossover.model_server.run_times import RunTimes
from crossover.protocol.deadline import NEVER
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.expected_time import overloaded
from crossover.protocol.joining import Form, form_of, rows_of
from crossover.protocol.messages import ParameterValue
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from crossover.model_server.isolation.session import IsolatedSession
    from crossover.model_server.model import LoadedVersion

_MOST_LOOKED_AT = 256
"""Waiting requests that are looked at for one joined run."""
Line: TypeAlias = "OrderedDict[QueuedCall, None]"


UNLIMITED = 1 << 30


class QueuedCall:
    """A request that waits for its run; `future` gets the outputs. Times in monotonic ns, deadlines in seconds."""

    __slots__ = (
        "arrived", "begun", "deadline", "delayed", "expires", "form", "future", "inputs", "level", "outputs", "rows",
        "run", "size", "version",
    )  # fmt: skip

    def __init__(
        self, version: LoadedVersion, inputs: list[Tensor], outputs: list[str], deadline: float,
        parameters: Mapping[str, ParameterValue], arrived: int,
    ) -> None:  # fmt: skip
        policy = version.queue.policy
        self.version = version
        self.inputs = inputs
        self.outputs = outputs
        self.deadline = deadline
        self.arrived = arrived
        self.size = sum([tensor.nbytes for tensor in inputs])
        self.level = policy.level(parameters)
        self.expires = arrived / 1e9 + policy.of_level(self.level).waits(parameters)
        """When the queue policy's timeout is over."""
        self.delayed = False
        self.rows = rows_of(inputs) if policy.joined_rows else 0
        self.form: Form | None = None
        """Requests of one form may run together; None: this one runs alone."""
        if 0 < self.rows < policy.joined_rows:
            self.form = (*form_of(inputs), *outputs)
        self.begun = False
        self.run: object = None
        """The execution whose outputs these are."""
        self.future: asyncio.Future[list[Tensor]] = asyncio.get_running_loop().create_future()


class _Level:
    """One priority level."""

    def __init__(self, policy: LevelPolicy) -> None:
        self.policy = policy
        self.waiting: Line = OrderedDict()
        self.delayed: Line = OrderedDict()
        self.sizes: Counter[int] = Counter()
        """Requests by the power of two of their size."""
        self.rows = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.waiting) + len(self.delayed)

    def count(self, call: QueuedCall, by: int) -> None:
        self.sizes[call.size.bit_length()] += by
        self.rows += by * max(1, call.rows)
        self.bytes += by * call.size


class ModelQueue:
    """The queue of one loaded version."""

    def __init__(self, policy: QueuePolicy, isolated: IsolatedSession | None = None, instances: int = 0) -> None:
        self.policy = policy
        self.times = RunTimes()
        self.isolated = isolated
        self._instances = instances
        """`instance_group`'s count; 0: it says nothing."""
        self.wake: Callable[[], None] = lambda: None
        """What to call when there are more worker processes; the executor sets it."""
        if isolated is not None:
            me = weakref.ref(self)  # or the two would keep each other, and the processes, after the model is unloaded
            isolated.on_change(lambda: _wake(me()))
        self.running = 0
        self.served = 0.0
        """Seconds of workers that the model has had, on the executor's virtual clock (start-time fair queueing)."""
        self._levels = {level: _Level(policy.of_level(level)) for level in range(policy.levels + 1)}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    @property
    def most_running(self) -> int:
        """Runs at the same time: as many as there are processes for; one where requests are joined, so that others gather."""
        most = self._instances or (1 if self.policy.joined_rows else UNLIMITED)
        return most if self.isolated is None else min(most, self.isolated.live)

    def grow(self, workers: int) -> None:
        """Requests wait although a run has just begun: let there be more processes, as far as they could be used."""
        if self.isolated is not None and len(self):
            self.isolated.grow(1 if self.policy.joined_rows else workers)

    def put(self, call: QueuedCall) -> None:
        """Let a request wait; OVERLOADED when its level's max_queue_size is reached."""
        level = self._levels[call.level]
        if level.policy.most and len(level) >= level.policy.most:
            raise overloaded(
                f"Exceeds maximum queue size: {level.policy.most} requests of model '{call.version.name}' wait already "
                "(max_queue_size in config.pbtxt)",
                self.ahead(call),
            )
        level.waiting[call] = None
        level.count(call, 1)
        self._waiting += 1

    def remove(self, call: QueuedCall) -> bool:
        """Forget a request that still waits; False when it does not."""
        level = self._levels[call.level]
        for line in (level.waiting, level.delayed):
            if call in line:
                del line[call]
                level.count(call, -1)
                self._waiting -= 1
                return True
        return False

    def expire(self, call: QueuedCall) -> bool:
        """The queue policy's timeout is over; whether the request is to be refused (and has been taken out)."""
        level = self._levels[call.level]
        if call not in level.waiting:
            return False
        if not level.policy.delays:
            return self.remove(call)
        del level.waiting[call]
        level.delayed[call], call.delayed = None, True
        return False

    def in_order(self) -> Iterator[QueuedCall]:
        """Those that wait, first the next to run. Nothing may be removed meanwhile."""
        for level in self._levels.values():
            yield from level.waiting
            yield from level.delayed

    def ready_at(self) -> float:
        """When a run may begin, in monotonic seconds: later where a request waits for others to join."""
        policy = self.policy
        if (
            not (policy.delay and policy.joined_rows)
            or sum(level.rows for level in self._levels.values()) >= policy.enough_rows
        ):
            return 0.0
        oldest = min((call.arrived for call in islice(self.in_order(), _MOST_LOOKED_AT)), default=0)
        return oldest / 1e9 + self.policy.delay

    def work(self) -> float:
        """Seconds that the runs of those will take which wait."""
        return self._work(self._levels.values())

    def ahead(self, call: QueuedCall) -> float:
        """Seconds that those will take which run before this request: of its level and above, and not together with it."""
        levels = [level for number, level in self._levels.items() if number <= call.level]
        if call.form is None:
            return self._work(levels)
        runs = ceil((sum(level.rows for level in levels) + call.rows) / self.policy.joined_rows) - 1
        return runs * self._joined_run(levels)

    def _work(self, levels: Iterable[_Level]) -> float:
        if self.policy.joined_rows:
            levels = list(levels)
            return ceil(sum(level.rows for level in levels) / self.policy.joined_rows) * self._joined_run(levels)
        return sum(
            count * self.times.expected((1 << size) - 1).mean for level in levels for size, count in level.sizes.items()
        )

    def _joined_run(self, levels: Iterable[_Level]) -> float:
        """Seconds of one run of as many of the waiting rows as may run together."""
        rows, size = sum(level.rows for level in levels), sum(level.bytes for level in levels)
        return self.times.expected(size * min(rows, self.policy.joined_rows) // rows).mean if rows else 0.0

    def take(self, now: float) -> tuple[list[QueuedCall], list[QueuedCall]]:
        """Take out the requests of the next run, and those that are refused because they can't end in time."""
        late: list[QueuedCall] = []
        group: list[QueuedCall] = []
        rows = size = 0
        until = NEVER
        for call in islice(self.in_order(), _MOST_LOOKED_AT):
            if self._too_late(call, now):
                late.append(call)
            elif not group:
                group.append(call)
                rows, size, until = call.rows, call.size, call.deadline
                if call.form is None or rows >= self.policy.joined_rows:
                    break
            elif call.form == group[0].form and rows + call.rows <= self.policy.joined_rows:
                expected = self.times.expected(size + call.size)
                if now + expected.mean > min(until, call.deadline):
                    break
                group.append(call)
                rows, size, until = rows + call.rows, size + call.size, min(until, call.deadline)
        for call in (*group, *late):
            self.remove(call)
        return group, late

    def _too_late(self, call: QueuedCall, now: float) -> bool:
        """Whether a run that began now would end after the call's deadline, by what runs took lately.

        Where nobody else waits for the worker, a run that has any chance is begun.
        """
        if call.deadline <= now:
            return True
        expected = self.times.expected(call.size)
        seconds = expected.least if self._waiting == 1 else expected.mean
        return expected.trusted(now) and now + seconds > call.deadline

    def without_chance(self, now: float, wait: float) -> list[QueuedCall]:
        """Take out those that can't end in time where `wait` seconds pass before the first of them begins."""
        lost: list[QueuedCall] = []
        for call in self.in_order():
            duration = self.times.expected(call.size).mean
            if call.form is not None:
                duration /= max(1, self.policy.joined_rows // call.rows)
            if now + wait + duration > call.deadline:
                lost.append(call)
            else:
                wait += duration
        for call in lost:
            self.remove(call)
        return lost


def refused_late(call: QueuedCall, now: float, wait: float) -> InferenceError:
    """Of a request that was taken and whose run is not begun any more."""
    if call.deadline <= now:
        return InferenceError(Code.DEADLINE_EXCEEDED, "the deadline passed before the model ran")
    return overloaded(
        f"model '{call.version.name}' has more to do than was expected; the run could not end in time any more",
        wait + call.version.queue.times.expected(call.size).mean,
    )


def _wake(queue: ModelQueue | None) -> None:
    if queue is not None:
        queue.wake()
