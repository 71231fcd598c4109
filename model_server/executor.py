"""Worker threads and the order in which models get them.

Admission: a request is refused at arrival (OVERLOADED) when it is not expected to end in time, by what waits and runs
(`protocol/expected_time.py`); and what waits is refused when its run could not end in time any more. So a worker's time
goes to answers that somebody can use.

Fairness: each model has a queue, and a free worker takes the model that has had the least time of workers (start-time
fair queueing, Goyal 1996), so that a model with more requests than it can answer delays another one's by a run.

Runs that never end: a run that nobody waits for is told to stop at its next operator. One that still goes on after
`STUCK_SECONDS` holds its worker for nothing; its model does not get the last worker, and when all are held this way,
everything that needs one is refused (UNAVAILABLE) and the server is not ready.

The queues are changed under one lock, by the event loop and by the workers, which pick their next run themselves: a
worker that waited for the event loop between two runs would stand idle just when there is most to do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from crossover.model_server.execution import QUICK_NS, WorkerRun
from crossover.model_server.model import LoadedVersion
from crossover.model_server.model_queue import ModelQueue, QueuedCall, refused_late
from crossover.protocol import deadline
from crossover.protocol.deadline import NEVER
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.expected_time import in_time, overloaded
from crossover.protocol.tensors import Tensor
from crossover.transport.deadline_queue import deadline_queue
from crossover.transport.time_limit import TimeLimit

log = logging.getLogger("crossover.model_server")

STUCK_SECONDS = 1.0
_TIMER_SECONDS = 1e-3
"""The shortest time that every event loop's timers know."""
_SHORTEST_RUN = 1e-4
"""Seconds that a run is charged at first when nothing is known of its model."""


class _Worker:
    """A thread that runs what it is given, then whatever the queues have, and then waits to be given more.

    Threads are daemons: one whose run never ends does not keep the process from ending.
    """

    def __init__(self, work: Callable[[_Worker], None], number: int) -> None:
        self.given: WorkerRun | None = None
        self.awake = threading.Lock()
        self.awake.acquire()
        self.thread = threading.Thread(target=work, args=(self,), name=f"model-{number}", daemon=True)
        self.thread.start()


class Executor:
    """Runs requests, at most `workers` runs at once and `max_queue` requests waiting."""

    def __init__(self, workers: int = 0, max_queue: int = 4096) -> None:
        self.workers = workers or max(2, os.cpu_count() or 2)
        self._max_queue = max_queue
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._threads: list[_Worker] = []
        self._running: dict[WorkerRun, None] = {}
        self._queues: dict[ModelQueue, None] = {}
        """Of models that have something waiting or running."""
        self._waiting = 0
        self._clock = 0.0
        """The virtual time: what the model had been served that was last chosen."""
        self._closed = False

    async def execute(self, call: QueuedCall) -> list[Tensor]:
        """The outputs of a request's run on a worker thread. DEADLINE_EXCEEDED when it is not done by the deadline."""
        self._submit(call)
        try:
            with TimeLimit(call.deadline):
                return await call.future
        except TimeoutError:
            raise deadline.exceeded("while the model ran" if call.begun else "before the model ran") from None
        finally:
            if not call.future.done() or call.future.cancelled():
                self._abandon(call)

    def _submit(self, call: QueuedCall) -> None:
        queue, now = call.version.queue, time.monotonic()
        with self._lock:
            self._admit(call, queue, now)
            queue.put(call)
            self._waiting += 1
            if queue not in self._queues:
                self._queues[queue] = None
                queue.wake = self._look
                queue.served = max(queue.served, self._clock)
            refused = self._dispatch(now)
        _refuse(refused)
        self._set_timers(call, queue)

    def _set_timers(self, call: QueuedCall, queue: ModelQueue) -> None:
        if call.begun or (call.expires == NEVER and not queue.policy.delay):
            return
        line = deadline_queue(call.future.get_loop())
        if call.expires != NEVER:
            entry = line.call_at(call.expires, lambda: self._expire(call))
            call.future.add_done_callback(lambda _: entry.cancel())
        if queue.policy.delay:
            call.future.get_loop().call_later(queue.policy.delay, self._end_delay, call)

    def _end_delay(self, call: QueuedCall) -> None:
        """The time to wait for others is over: the request may begin.

        uvloop counts in whole milliseconds, from the beginning of the loop's turn, so its timers may come too early.
        """
        if call.begun or call.future.done():
            return
        seconds = call.arrived / 1e9 + call.version.queue.policy.delay - time.monotonic()
        if seconds > 0:
            call.future.get_loop().call_later(max(seconds, _TIMER_SECONDS), self._end_delay, call)
        else:
            self._look()

    def _admit(self, call: QueuedCall, queue: ModelQueue, now: float) -> None:
        """Raise unless the request is expected to end in time."""
        if queue.isolated is not None and queue.isolated.unavailable:
            raise _no_process(call)
        self._check_workers(call, queue, now)
        wait = self._expected_wait(queue, call, now)
        run = queue.times.expected(call.size)
        name = call.version.name
        if wait > 0.0 and not in_time(wait + run.mean + run.deviation, call.deadline, now):
            raise overloaded(
                f"model '{name}' has too much to do: its answer is expected in {wait + run.mean:.3f} s, "
                f"and the deadline is in {call.deadline - now:.3f} s",
                wait,
            )
        if wait <= 0.0 and (call.deadline <= now or (run.trusted(now) and now + run.least > call.deadline)):
            raise InferenceError(
                Code.DEADLINE_EXCEEDED,
                f"the deadline is in {max(0.0, call.deadline - now):.6f} s; a run of model '{name}' takes about "
                f"{run.mean:.6f} s",
            )
        if self._waiting >= self._max_queue and not self._free():
            raise overloaded(f"the queue is full, MODEL_MAX_QUEUE is {self._max_queue}; try again later", wait)

    def _check_workers(self, call: QueuedCall, queue: ModelQueue, now: float) -> None:
        held = self._held(now)
        if not held:
            return
        if len(held) >= self.workers:
            raise InferenceError(Code.UNAVAILABLE, self._held_text(held))
        if self.workers - len(held) == 1 and any(run.version.queue is queue for run in held):
            raise InferenceError(Code.UNAVAILABLE, self._last_worker_text(call.version.name, held))

    def _last_worker_text(self, name: str, held: list[WorkerRun]) -> str:
        return (
            f"runs of model '{name}' do not end and hold {len(held)} of {self.workers} workers; the last one is left to "
            "other models"
        )

    def _free(self) -> int:
        return self.workers - len(self._running)

    def _expected_wait(self, queue: ModelQueue, call: QueuedCall | None, now: float) -> float:
        """Seconds until a request that arrives now would begin: the workers are shared equally by the models that wait."""
        own = queue.work() if call is None else queue.ahead(call)
        if self._free() and not own and queue.running < queue.most_running:
            return 0.0
        held = self._held(now)
        workers = max(1, self.workers - len(held))
        running = [run for run in self._running if run not in held]
        before = own + queue.times.expected(call.size if call is not None else 0).mean
        others = sum(min(other.work(), before) for other in self._queues if other is not queue and len(other))
        wait = (own + others + sum(run.remaining(now) for run in running)) / workers
        if queue.running >= queue.most_running:
            ahead = min((run.remaining(now) for run in running if run.version.queue is queue), default=0.0)
            wait = max(wait, ahead + own / max(1, queue.most_running))
        return wait

    def _dispatch(self, now: float) -> list[tuple[QueuedCall, InferenceError]]:
        """Give runs to workers that are free; the requests that are refused instead."""
        refused: list[tuple[QueuedCall, InferenceError]] = []
        while self._free() and (run := self._next(now, refused)) is not None:
            worker = self._idle.pop() if self._idle else self._new_worker()
            worker.given = run
            worker.awake.release()
        return refused

    def _new_worker(self) -> _Worker:
        worker = _Worker(self._work, len(self._threads))
        self._threads.append(worker)
        return worker

    def _next(self, now: float, refused: list[tuple[QueuedCall, InferenceError]]) -> WorkerRun | None:
        """The run that is to begin now, of the model that has had least; it counts as running."""
        while (queue := self._choice(now)) is not None:
            group, late = queue.take(now)
            self._waiting -= len(group) + len(late)
            refused += [(call, refused_late(call, now, queue.work())) for call in late]
            if group:
                return self._begin(queue, group, now)
            self._rest(queue)
        return None

    def _choice(self, now: float) -> ModelQueue | None:
        chosen: ModelQueue | None = None
        for queue in self._queues:
            if len(queue) and queue.running < queue.most_running and (chosen is None or queue.served < chosen.served):
                if (queue.policy.delay and queue.ready_at() > now) or self._may_hold_all(queue, now):
                    continue
                chosen = queue
        return chosen

    def _may_hold_all(self, queue: ModelQueue, now: float) -> bool:
        """Whether the model would get the last worker while a run of its does not stop."""
        return self.workers > 1 and self._free() <= 1 and any(
            run.version.queue is queue and run.stopped_at <= now for run in self._running
        )  # fmt: skip

    def _begin(self, queue: ModelQueue, group: list[QueuedCall], now: float) -> WorkerRun:
        expected = queue.times.expected(sum([call.size for call in group])).mean
        run = WorkerRun(group, expected, now)
        for call in group:
            call.begun, call.run = True, run
        self._running[run] = None
        queue.running += 1
        queue.grow(self.workers)
        self._clock = queue.served
        queue.served += max(expected, _SHORTEST_RUN)
        return run

    def _work(self, worker: _Worker) -> None:
        """A worker thread's life."""
        while True:
            worker.awake.acquire()
            run = worker.given
            worker.given = None
            while run is not None:
                run.perform()
                run = self._ended(worker, run)
            if self._closed:
                return

    def _ended(self, worker: _Worker, run: WorkerRun) -> WorkerRun | None:
        """A worker's run is over: the next one is taken, then the callers are told (who may at once ask again)."""
        now = time.monotonic()
        refused: list[tuple[QueuedCall, InferenceError]] = []
        with self._lock:
            queue = run.version.queue
            del self._running[run]
            queue.running -= 1
            queue.served += (now - run.began) - max(run.expected, _SHORTEST_RUN)
            if self._learn(queue, run, now):
                refused += self._without_chance(queue, now)
            self._rest(queue)
            following = None if self._closed else self._next(now, refused)
            if following is None:
                self._idle.append(worker)
        _on_loop(run.calls[0], _tell, run)
        _refuse(refused)
        return following

    def _learn(self, queue: ModelQueue, run: WorkerRun, now: float) -> bool:
        changed = False
        for execution in run.done:
            changed |= queue.times.learn(execution.size, (execution.finished - execution.started) / 1e9)
        if not run.done and run.stopped_at != NEVER and now - run.began > run.expected:
            changed |= queue.times.learn(sum([call.size for call in run.calls]), now - run.began)  # at least as long
        return changed

    def _without_chance(self, queue: ModelQueue, now: float) -> list[tuple[QueuedCall, InferenceError]]:
        """After a change of what runs take: those who wait and can't be answered in time are told so now."""
        lost = queue.without_chance(now, 0.0)
        self._waiting -= len(lost)
        return [(call, refused_late(call, now, queue.work())) for call in lost]

    def _rest(self, queue: ModelQueue) -> None:
        if not len(queue) and not queue.running:
            self._queues.pop(queue, None)

    def _abandon(self, call: QueuedCall) -> None:
        """The caller has gone."""
        with self._lock:
            if call.version.queue.remove(call):
                self._waiting -= 1
                self._rest(call.version.queue)
                return
            run = call.run
        if isinstance(run, WorkerRun):
            run.abandon()
            if run.stopped_at != NEVER:
                asyncio.get_running_loop().call_later(STUCK_SECONDS + 0.01, self._look_at, run)

    def _expire(self, call: QueuedCall) -> None:
        """The queue policy's timeout is over."""
        with self._lock:
            refused = call.version.queue.expire(call)
            if refused:
                self._waiting -= 1
                self._rest(call.version.queue)
        if refused:
            text = f"Request timeout expired: it waited longer for model '{call.version.name}' than its queue policy allows"
            _refuse([(call, overloaded(text, call.version.queue.times.expected(call.size).mean))])

    def _look(self) -> None:
        """Requests that waited for others to join, or for a process, may wait no more."""
        with self._lock:
            refused = self._dispatch(time.monotonic())
            for queue in list(self._queues):
                if queue.isolated is not None and queue.isolated.unavailable:
                    refused += [(call, _no_process(call)) for call in self._emptied(queue)]
        _refuse(refused)

    def _emptied(self, queue: ModelQueue) -> list[QueuedCall]:
        """Take out everything that waits."""
        calls = list(queue.in_order())
        for call in calls:
            queue.remove(call)
        self._waiting -= len(calls)
        self._rest(queue)
        return calls

    def _look_at(self, run: WorkerRun) -> None:
        """A run that was to stop: is it still there?"""
        now = time.monotonic()
        with self._lock:
            if run not in self._running:
                return
            held = self._held(now)
            suffering = list(self._queues) if len(held) >= self.workers else [run.version.queue]
            if self.workers - len(held) > 1:
                suffering = []
            lost = [call for queue in suffering for call in self._emptied(queue)]
        log.error(
            "a run of model '%s' goes on although nobody waits for it; %d of %d workers are held like this",
            run.version.name, len(held), self.workers,
        )  # fmt: skip
        text = self._held_text(held) if len(held) >= self.workers else self._last_worker_text(run.version.name, held)
        _refuse([(call, InferenceError(Code.UNAVAILABLE, text)) for call in lost])

    def _held(self, now: float) -> list[WorkerRun]:
        """Runs that should have stopped and have not."""
        return [run for run in self._running if run.stopped_at + STUCK_SECONDS <= now]

    def _held_text(self, held: Iterable[WorkerRun]) -> str:
        names = ", ".join(sorted({f"'{run.version.name}'" for run in held}))
        return f"all {self.workers} workers are held by runs of {names} that do not end"

    @property
    def pending(self) -> int:
        """Requests that wait and runs that are under way."""
        return self._waiting + len(self._running)

    @property
    def held(self) -> int:
        """Workers whose runs should have stopped and have not."""
        with self._lock:
            return len(self._held(time.monotonic()))

    @property
    def unready_reason(self) -> str | None:
        """Why nothing can be run; None when it can."""
        with self._lock:
            held = self._held(time.monotonic())
        return self._held_text(held) if len(held) >= self.workers else None

    def expected_wait(self, version: LoadedVersion) -> float:
        """Seconds that a request of the version would wait now."""
        with self._lock:
            return self._expected_wait(version.queue, None, time.monotonic())

    def close(self) -> bool:
        """Stop what runs at its next operator and drop what waits; whether every worker came to its end."""
        with self._lock:
            self._closed = True
            running = list(self._running)
            lost = [call for queue in list(self._queues) for call in self._emptied(queue)]
            for worker in self._idle:
                worker.awake.release()
        for run in running:
            run.stop()
        _refuse([(call, InferenceError(Code.UNAVAILABLE, "the server is stopping")) for call in lost])
        until = time.monotonic() + STUCK_SECONDS / 2
        for worker in self._threads:
            worker.thread.join(max(0.0, until - time.monotonic()))
        return not any(worker.thread.is_alive() for worker in self._threads)


def _no_process(call: QueuedCall) -> InferenceError:
    isolated = call.version.queue.isolated
    return InferenceError(
        Code.UNAVAILABLE,
        f"model '{call.version.name}' has no worker process: {isolated.unavailable if isolated is not None else ''}",
    )


def _on_loop(call: QueuedCall, callback: Callable[..., None], *arguments: object) -> None:
    """Call on the event loop of the callers; when that has ended, nobody is there to be told."""
    with suppress(RuntimeError):
        call.future.get_loop().call_soon_threadsafe(callback, *arguments)


def _tell(run: WorkerRun) -> None:
    """On the event loop: what was learnt of the model, and every caller's outcome."""
    statistics, quickness = run.version.statistics, run.version.quickness
    for execution in run.done:
        statistics.ran(run.version.rows(execution.inputs), execution)
        if quickness.possible and execution.spent <= QUICK_NS:
            quickness.learn(execution.size)
    for call, outcome in run.outcomes:
        if call.future.done():
            continue
        if isinstance(outcome, BaseException):
            call.future.set_exception(outcome)
        else:
            call.future.set_result(outcome)


def _refuse(refused: list[tuple[QueuedCall, InferenceError]]) -> None:
    if refused:
        _on_loop(refused[0][0], _tell_refused, refused)


def _tell_refused(refused: list[tuple[QueuedCall, InferenceError]]) -> None:
    for call, error in refused:
        if not call.future.done():
            call.future.set_exception(error)
