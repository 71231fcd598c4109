"""Counts and times of one model version since it was loaded, as Triton's statistics extension defines them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from protos import inference as pb


@dataclass(slots=True)
class Duration:
    """How often, and how many nanoseconds altogether."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class BatchSize:
    """Executions of one batch size."""

    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)


@dataclass(slots=True)
class Execution:
    """One run of the model: its rows, the requests in it, and its times in nanoseconds."""

    rows: int
    requests: int
    compute_input: int
    compute_infer: int
    compute_output: int


@dataclass(slots=True)
class Statistics:
    """Changed by the event loop's thread only, so that nothing is locked on the way of a request."""

    inference_count: int = 0
    execution_count: int = 0
    last_inference_ms: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    rejected: int = 0
    cancelled: int = 0
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, BatchSize] = field(default_factory=dict)

    def executed(self, run: Execution) -> None:
        """One run ended well. Each of its requests is charged the whole run, as Triton does."""
        self.execution_count += 1
        self.inference_count += run.rows
        self.last_inference_ms = time.time_ns() // 1_000_000
        self.compute_input.add(run.compute_input * run.requests, run.requests)
        self.compute_infer.add(run.compute_infer * run.requests, run.requests)
        self.compute_output.add(run.compute_output * run.requests, run.requests)
        size = self.batches.get(run.rows)
        if size is None:
            size = self.batches[run.rows] = BatchSize()
        size.compute_input.add(run.compute_input)
        size.compute_infer.add(run.compute_infer)
        size.compute_output.add(run.compute_output)

    def to_message(self, name: str, version: str) -> pb.ModelStatistics:
        return pb.ModelStatistics(
            name=name,
            version=version,
            last_inference=self.last_inference_ms,
            inference_count=self.inference_count,
            execution_count=self.execution_count,
            inference_stats=pb.InferStatistics(
                success=_message(self.success),
                fail=_message(self.fail),
                queue=_message(self.queue),
                compute_input=_message(self.compute_input),
                compute_infer=_message(self.compute_infer),
                compute_output=_message(self.compute_output),
                cache_hit=pb.StatisticDuration(),
                cache_miss=pb.StatisticDuration(),
            ),
            batch_stats=[
                pb.InferBatchStatistics(
                    batch_size=rows,
                    compute_input=_message(size.compute_input),
                    compute_infer=_message(size.compute_infer),
                    compute_output=_message(size.compute_output),
                )
                for rows, size in sorted(self.batches.items())
            ],
        )


def _message(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)
