"""Counts and times of one model version since it was loaded, as Triton's statistics extension defines them."""

from __future__ import annotations

from dataclasses import dataclass, field

from crossover.protos import inference as pb


@dataclass(slots=True)
class Duration:
    """How often, and how many nanoseconds altogether."""

    count: int = 0
    ns: int = 0

    def add(self, ns: int, count: int = 1) -> None:
        self.count += count
        self.ns += ns


@dataclass(slots=True)
class Kind:
    """All successful runs of one kind: so many rows, from so many requests that were joined. Times in nanoseconds."""

    runs: int = 0
    queue: int = 0
    compute_input: int = 0
    compute_infer: int = 0
    compute_output: int = 0
    success: int = 0


@dataclass(slots=True)
class Statistics:
    """Changed by the event loop's thread only, so that nothing is locked on the way of a request.

    A run adds to the one cell of its kind; all that Triton's statistics tell is computed from the cells when it is asked
    for. Each request of a run is charged the whole run, as Triton does.
    """

    last_inference_ms: int = 0
    fail: Duration = field(default_factory=Duration)
    rejected: int = 0
    cancelled: int = 0
    kinds: dict[tuple[int, int], Kind] = field(default_factory=dict)
    """By rows and requests."""

    def kind(self, rows: int, requests: int) -> Kind:
        """The cell to add a run to."""
        found = self.kinds.get((rows, requests))
        if found is None:
            found = self.kinds[rows, requests] = Kind()
        return found

    @property
    def inference_count(self) -> int:
        return sum(rows * kind.runs for (rows, _), kind in self.kinds.items())

    @property
    def execution_count(self) -> int:
        return sum(kind.runs for kind in self.kinds.values())

    def total(self, part: str) -> Duration:
        """Requests that succeeded, and the time that they took in one part: a field of `Kind`."""
        cells = [(requests, kind) for (_, requests), kind in self.kinds.items()]
        return Duration(sum(n * kind.runs for n, kind in cells), sum(n * int(getattr(kind, part)) for n, kind in cells))

    def _batches(self) -> list[pb.InferBatchStatistics]:
        sizes: dict[int, dict[str, Duration]] = {}
        for (rows, _), kind in self.kinds.items():
            size = sizes.setdefault(rows, {part: Duration() for part in _COMPUTE})
            for part, duration in size.items():
                duration.add(getattr(kind, part), kind.runs)
        return [
            pb.InferBatchStatistics(batch_size=rows, **{part: _message(duration) for part, duration in size.items()})
            for rows, size in sorted(sizes.items())
        ]

    def to_message(self, name: str, version: str) -> pb.ModelStatistics:
        return pb.ModelStatistics(
            name=name,
            version=version,
            last_inference=self.last_inference_ms,
            inference_count=self.inference_count,
            execution_count=self.execution_count,
            inference_stats=pb.InferStatistics(
                fail=_message(self.fail),
                cache_hit=pb.StatisticDuration(),
                cache_miss=pb.StatisticDuration(),
                **{part: _message(self.total(part)) for part in ("success", "queue", *_COMPUTE)},
            ),
            batch_stats=self._batches(),
        )


_COMPUTE = ("compute_input", "compute_infer", "compute_output")


def _message(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)
