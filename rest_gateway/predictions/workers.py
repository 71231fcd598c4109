"""Workers that take queued predictions, run them, and store one outcome each; and the chores beside them.

A gateway that dies leaves its leases behind; they end, and another worker, here after a restart or on another gateway
of the same store, runs the job again. A model server that is away does not fail a job: it waits, up to a bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING

from crossover.protocol.deadline import after
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.rest_gateway.api.failures import StoreAwayError, log_once_a_minute
from crossover.rest_gateway.predictions.exchange import upstream_half
from crossover.rest_gateway.predictions.record import continue_after, now_micros
from crossover.rest_gateway.predictions.running import Ran, Runner, failure, task_request
from crossover.transport.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from crossover.rest_gateway.predictions.options import PredictionOptions
    from crossover.rest_gateway.predictions.record import Job, Outcome, Task
    from crossover.rest_gateway.predictions.store import Store
    from crossover.service.tracing import Tracer

log = logging.getLogger("crossover.predictions")
POLL_SECONDS = 1.0
"""How soon a job is seen that another gateway accepted, or whose lease has ended."""
PRUNE_SECONDS = 20.0
MOST_CRASHES = 20
RECOVERY_SECONDS = 15.0
"""So long after a model server was away, a model that it does not find may still be on its way into it."""
_LONGEST_PAUSE = 10.0
_STOP_SECONDS = 5.0
_KEY_DAYS = 1
_DAY = 86_400_000_000
_JUMP_SECONDS = 5.0
_TRUSTED_SECONDS = 3600.0
"""So long after the clock was set nothing is deleted for its age: it may be set right again."""


class _Clock:
    """Whether the wall clock goes as the monotonic one does."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()
        self._since = time.monotonic()
        self.was_set = False

    def look(self) -> None:
        """Notice that the clock was set."""
        ahead = time.time() - time.monotonic()
        if abs(ahead - self._ahead) > _JUMP_SECONDS:
            log.warning("the clock was set by %+.0f s; nothing is deleted for its age for an hour", ahead - self._ahead)
            self._since, self.was_set = time.monotonic(), True
        self._ahead = ahead

    @property
    def steady_seconds(self) -> float:
        """How long the clock has not been set, as far as this process knows."""
        self.look()
        return time.monotonic() - self._since


class Workers:
    """The tasks of one gateway that work on the queue."""

    def __init__(
        self, store: Store, runner: Runner, owner: str, options: PredictionOptions, tracer: Tracer | None = None
    ) -> None:
        self._store = store
        self._tracer = tracer
        self._runner = runner
        self._owner = owner
        self._options = options
        self._wake = asyncio.Event()
        self._polling = False
        """Whether one of the idle workers looks at the store now and then; the others wait for its word."""
        self._tasks: list[asyncio.Task[None]] = []
        self._running: set[asyncio.Task[Ran]] = set()
        self._waiters: dict[str, asyncio.Event] = {}
        self._stopping = asyncio.Event()
        self._clock = _Clock()
        self._jobs_held = 0
        self._away_at = -math.inf
        """When the model server last could not take a job."""
        self.keys_held = 0
        """Idempotency keys that requests of this gateway hold now; their leases are prolonged too."""

    async def start(self) -> None:
        with contextlib.suppress(StoreAwayError):
            continue_after(await self._store.newest_id())
        works = [self._prolong, self._prune, *[self._work] * self._options.workers]
        self._tasks = [asyncio.create_task(self._kept_going(work)) for work in works]

    async def stop(self) -> None:
        """Let go of what runs, so that it is taken up again at once by whoever starts next.

        Model runs are cancelled; transactions are let finish, as a connection that is left in the middle of one is lost.
        """
        self._stopping.set()
        self._wake.set()
        for run in self._running:
            run.cancel()
        if self._tasks:
            _, stuck = await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)
            for task in stuck:
                task.cancel()
        with contextlib.suppress(StoreAwayError):
            await self._store.release(self._owner)

    def wake(self) -> None:
        """There is a new job."""
        self._wake.set()

    def expect(self, prediction_id: str) -> asyncio.Event:
        """An event for when a worker of this gateway is through with the job; give it back with `forget`."""
        return self._waiters.setdefault(prediction_id, asyncio.Event())

    def forget(self, prediction_id: str) -> None:
        self._waiters.pop(prediction_id, None)

    async def _kept_going(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        while not self._stopping.is_set():
            try:
                await work()
            except Exception:  # a row that breaks one round must not end the queue
                log.exception("a worker of the queue failed; it goes on")
                await self._pass(POLL_SECONDS)

    async def _pass(self, seconds: float) -> None:
        """Sleep, but not beyond the stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _work(self) -> None:
        """One round: take a job and end it, or wait for one."""
        self._wake.clear()
        try:
            job = await self._store.claim(self._owner, self._options.lease_seconds)
        except StoreAwayError as error:
            log_once_a_minute(error)
            job = None
        if job is not None:
            self._wake.set()  # there may be more
            self._jobs_held += 1
            try:
                await self._carry_out(job)
            finally:
                self._jobs_held -= 1
        elif not self._stopping.is_set():
            await self._wait()

    async def _wait(self) -> None:
        """Until there may be a job."""
        if self._polling:
            await self._wake.wait()
            return
        self._polling = True
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
        finally:
            self._polling = False

    async def _carry_out(self, job: Job) -> None:
        try:
            await self._outcome_of(job)
        except StoreAwayError as error:
            log_once_a_minute(error)
            log.debug("the outcome of prediction %s was not stored, it will run again: %s", job.id, error)
            await self._pass(POLL_SECONDS)
        finally:
            if waiter := self._waiters.get(job.id):
                waiter.set()

    async def _outcome_of(self, job: Job) -> None:
        if job.crashes > MOST_CRASHES:
            error = InferenceError(Code.ABORTED, f"given up after {job.crashes} runs that ended without an answer")
            await self._finish(job, failure(error))
            return
        context = CallContext(after(self._options.job_seconds))
        try:
            ran = await self._traced(job, context)
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
            return  # `stop` puts it back
        except InferenceError as error:
            if self._may_pass(error) and (pause := self._pause(job)):
                await self._store.postpone(job, self._owner, pause)
            else:
                await self._finish(job, failure(error), upstream_half(job.task.upstream, context))
        else:
            await self._finish(job, ran.outcome, ran.exchange)

    async def _traced(self, job: Job, context: CallContext) -> Ran:
        """The run, in the trace of the request that queued it where that was sampled."""
        trace = self._tracer.resumed(job.task.trace, job.queued_at) if self._tracer is not None else None
        if self._tracer is None or trace is None:
            return await self._run(job, context)
        trace.follow(context)
        code: Code | None = Code.CANCELLED
        try:
            ran = await self._run(job, context)
            code = None
            return ran
        except InferenceError as error:
            code = error.code
            raise
        finally:
            attributes: dict[str, str | int] = {"crossover.prediction": job.id, "crossover.claim": job.claim}
            self._tracer.end(trace, "process predictions", attributes, code, job.task.upstream)

    async def _run(self, job: Job, context: CallContext) -> Ran:
        """The run as a task of its own, so that stopping ends it and never a transaction."""
        task = asyncio.create_task(self._ran(job.task, context))
        self._running.add(task)
        try:
            return await task
        except InferenceError:
            raise
        except Exception as error:
            log.exception("prediction %s failed inside the gateway", job.id, exc_info=error)
            raise InferenceError(Code.INTERNAL, "the gateway failed inside; its log has the reason") from None
        finally:
            self._running.discard(task)

    async def _ran(self, task: Task, context: CallContext) -> Ran:
        name, inference = self._runner.upstreams.get(task.upstream)
        request = await off_loop(len(task.inputs), task_request, task)
        return await self._runner.run(name, inference, request, context)

    async def _finish(self, job: Job, outcome: Outcome, exchange: str | None = None) -> None:
        if not await self._store.finish(job, self._owner, outcome, exchange):
            log.info("prediction %s was changed or deleted while it ran", job.id)

    def _may_pass(self, error: InferenceError) -> bool:
        """Whether a later try may succeed. A server that was away a moment ago may not have read its models yet."""
        if error.code.status.retryable:
            self._away_at = time.monotonic()
            return True
        return error.code is Code.NOT_FOUND and time.monotonic() - self._away_at < RECOVERY_SECONDS

    def _pause(self, job: Job) -> float:
        """Seconds until the next try, longer the longer it has waited; 0 when it has waited long enough."""
        waited = (now_micros() - job.queued_at) / 1e6
        if self._clock.was_set:  # what a job has waited is not known any more: count anew
            waited = min(waited, self._clock.steady_seconds)
        return 0.0 if waited > self._options.retry_seconds else min(_LONGEST_PAUSE, 0.5 + max(0.0, waited) / 2)

    async def _prolong(self) -> None:
        await self._pass(self._options.lease_seconds / 3)
        if self._jobs_held or self.keys_held:
            with contextlib.suppress(StoreAwayError):
                await self._store.renew(self._owner, self._options.lease_seconds)

    async def _prune(self) -> None:
        now = now_micros()
        self._clock.look()
        oldest = oldest_key = 0
        if self._clock.steady_seconds > _TRUSTED_SECONDS or not self._clock.was_set:
            oldest = now - round(self._options.max_age_days * _DAY) if self._options.max_age_days else 0
            oldest_key = now - _KEY_DAYS * _DAY
        try:
            await self._store.mend(self._options.lease_seconds)
            await self._store.prune(self._options.max_rows, oldest, oldest_key)
        except StoreAwayError as error:
            log_once_a_minute(error)
        await self._pass(PRUNE_SECONDS)
