"""Counts and times of one model version since it was loaded, as Triton's statistics extension defines them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from crossover.protocol.errors import Code, InferenceError
from crossover.protos import inference as pb


class Stamps(Protocol):
    """The stations of a run, in monotonic ns."""

    started: int
    fed: int
    ran: int
    finished: int


class Reason(Enum):
    """Why a request failed, in the words of Triton's `nv_inference_request_failure`."""

    REJECTED = "REJECTED"
    """It was not begun: overload, a queue policy, a deadline that passed while it waited."""
    CANCELED = "CANCELED"
    """Its caller went away, or its deadline passed while it ran."""
    BACKEND = "BACKEND"
    """The run failed."""
    OTHER = "OTHER"
    """Everything else: it does not fit the model."""


_STOPPED = frozenset({Code.CANCELLED, Code.DEADLINE_EXCEEDED})
_REFUSED = frozenset({Code.OVERLOADED, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})


def reason_of(error: BaseException, deadline: float, *, begun: bool) -> Reason:
    """The reason of a failure, told by its error and by whether its run had begun.

    Whoever keeps the deadline before us ends a request by cancelling it, which is then no caller that went away.
    """
    if not isinstance(error, InferenceError):
        late = isinstance(error, asyncio.CancelledError) and time.monotonic() >= deadline
        gone = isinstance(error, asyncio.CancelledError)
        return Reason.REJECTED if late and not begun else Reason.CANCELED if gone else Reason.BACKEND
    if begun:
        return Reason.CANCELED if error.code in _STOPPED else Reason.BACKEND
    return Reason.REJECTED if error.code in _REFUSED else Reason.OTHER


@dataclass(slots=True)
class Duration:
    """How often, and how many nanoseconds altogether."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class Runs:
    """All runs with one number of rows that ended well. Times in nanoseconds."""

    count: int = 0
    compute_input: int = 0
    compute_infer: int = 0
    compute_output: int = 0


@dataclass(slots=True)
class Statistics:
    """Changed by the event loop's thread only, so that nothing is locked on the way of a request.

    Runs and requests are counted apart: a run may answer several requests that were joined, and is then charged to each of
    them, as Triton does; a request counts once, as what its caller was told.
    """

    last_inference_ms: int = 0
    runs: dict[int, Runs] = field(default_factory=dict)
    """By rows."""
    rows: int = 0
    """Of requests that succeeded."""
    success: Duration = field(default_factory=Duration)
    queue: int = 0
    compute_input: int = 0
    compute_infer: int = 0
    compute_output: int = 0
    cache_hit: Duration = field(default_factory=Duration)
    """Requests that were answered without a run; they count as successes, not as inferences."""
    cache_miss: Duration = field(default_factory=Duration)
    failures: dict[Reason, Duration] = field(default_factory=lambda: {reason: Duration() for reason in Reason})

    def ran(self, rows: int, execution: Stamps) -> None:
        """A run of so many rows has ended well."""
        runs = self.runs.get(rows)
        if runs is None:
            runs = self.runs[rows] = Runs()
        runs.count += 1
        runs.compute_input += execution.fed - execution.started
        runs.compute_infer += execution.ran - execution.fed
        runs.compute_output += execution.finished - execution.ran

    def succeeded(self, arrived: int, rows: int, execution: Stamps) -> None:
        """A request of so many rows that arrived at `arrived` was answered by this run."""
        self.rows += rows
        self.success.count += 1
        self.success.ns += execution.finished - arrived
        self.queue += execution.started - arrived
        self.compute_input += execution.fed - execution.started
        self.compute_infer += execution.ran - execution.fed
        self.compute_output += execution.finished - execution.ran
        self.last_inference_ms = time.time_ns() // 1_000_000

    def hit(self, arrived: int, lookup_ns: int) -> None:
        """A request was answered from the response cache."""
        self.success.add(time.monotonic_ns() - arrived)
        self.cache_hit.add(lookup_ns)
        self.last_inference_ms = time.time_ns() // 1_000_000

    def failed(self, ns: int, reason: Reason) -> None:
        """A request was not answered."""
        self.failures[reason].add(ns)

    @property
    def execution_count(self) -> int:
        return sum(runs.count for runs in self.runs.values())

    def _batches(self) -> list[pb.InferBatchStatistics]:
        return [
            pb.InferBatchStatistics(
                batch_size=rows,
                **{part: pb.StatisticDuration(count=runs.count, ns=getattr(runs, part)) for part in _COMPUTE},
            )
            for rows, runs in sorted(self.runs.items())
        ]

    def to_message(self, name: str, version: str) -> pb.ModelStatistics:
        return pb.ModelStatistics(
            name=name,
            version=version,
            last_inference=self.last_inference_ms,
            inference_count=self.rows,
            execution_count=self.execution_count,
            inference_stats=pb.InferStatistics(
                success=_message(self.success),
                fail=_message(self._fail()),
                cache_hit=_message(self.cache_hit),
                cache_miss=_message(self.cache_miss),
                queue=pb.StatisticDuration(count=self.success.count, ns=self.queue),
                **{
                    part: pb.StatisticDuration(count=self.success.count - self.cache_hit.count, ns=getattr(self, part))
                    for part in _COMPUTE
                },
            ),
            batch_stats=self._batches(),
        )

    def _fail(self) -> Duration:
        parts = self.failures.values()
        return Duration(sum(part.count for part in parts), sum(part.ns for part in parts))


_COMPUTE = ("compute_input", "compute_infer", "compute_output")


def _message(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)
