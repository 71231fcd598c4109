"""From raw samples to one number for each block, arm and metric: what the statistics work on."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.comparison.analysis import capacity
from crossover.comparison.design import outcomes as out
from crossover.comparison.design import samples
from crossover.comparison.design.arms import CODED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from crossover.comparison.design.samples import Samples, SliceLine

METRICS = {
    "p50": "ms",
    "p90": "ms",
    "p99": "ms",
    "first_message": "ms",
    "per_message": "ms per message",
    "cpu": "µs of CPU per request",
    "client_cpu": "µs of CPU per request",
    "wire_bytes": "bytes per request",
    "message_bytes": "bytes per request",
    "capacity": "requests/s",
}
"""Every metric and its unit; smaller is better in each that is not in `LARGER_IS_BETTER`."""
LARGER_IS_BETTER = frozenset({"capacity"})
QUICK_METRICS = ("p50", "first_message", "per_message", "cpu", "client_cpu", "wire_bytes", "message_bytes")
"""What a quick run is judged by; its slices are too short for the tail."""
CALLER = "caller"
"""What encoding and decoding take of the load generator, in arms that do both as a client does."""
APPARATUS = frozenset({"generator", "wire", CALLER})
"""Processes of the lab itself: their CPU is recorded and is no service's."""
ALONE = {"alone": "p50", "alone_cpu": "cpu"}
"""The same of calls one at a time, which met no queue: what a delay of known length is looked for in."""
STREAM_METRICS = frozenset({"first_message", "per_message"})
"""Of replies that are streams."""
_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
NEAR = 3
"""Calls one at a time that are so many turns apart met the same machine."""
_LEAST_CARRIED = 0.5
"""Bytes over the hop that are less than so large a share of the messages were not counted: connections closed with them."""
_FEWEST_IN_BLOCK = {"p50": 5, "p90": 50, "p99": 500}
"""Fewer requests in a block say nothing about its percentile."""


_NEEDS = {"cpu": ("services_seen", True), **dict.fromkeys(("first_message", "per_message"), ("stream", False))}
"""Metrics that a run has only where one of its options says so, and what that option is where it is not said."""


def metrics_of(options: Mapping[str, Any], *, searched: bool) -> tuple[str, ...]:
    """What a run with these options is judged by; `searched`: each arm's capacity too."""
    wanted = METRICS if options.get("thorough") else QUICK_METRICS
    missing = {metric for metric, (option, default) in _NEEDS.items() if not options.get(option, default)}
    return (
        *(metric for metric in wanted if metric not in {"capacity", *missing}),
        *(("capacity",) if searched else ()),
    )


def can_say(pair: tuple[str, str], metric: str) -> bool:
    """Whether these two arms have a number by this metric: not every arm encodes and decodes."""
    return metric != "client_cpu" or set(pair) <= CODED


@dataclass(slots=True)
class Bin:
    """All kept slices of one arm in one cell and block."""

    lines: list[SliceLine] = field(default_factory=list)
    tables: list[NDArray[np.int64]] = field(default_factory=list)

    @property
    def requests(self) -> NDArray[np.int64]:
        return np.concatenate(self.tables)

    @property
    def latencies_ms(self) -> NDArray[np.float64]:
        return latencies_ms(self.requests)

    @property
    def services(self) -> set[str]:
        return {name for line in self.lines for name in line.cpu_ns if name not in APPARATUS}

    def cpu_us(self, process: str) -> float:
        """CPU time of `process` per request, in µs."""
        count = sum(len(table) for table in self.tables)
        return sum(line.cpu_ns.get(process, 0) for line in self.lines) / count / 1000

    def value(self, metric: str) -> float | None:
        """The block's value of a metric; None when this block cannot say."""
        if metric in _PERCENTILES:
            values = self.latencies_ms
            enough = len(values) >= _FEWEST_IN_BLOCK[metric]
            return float(np.quantile(values, _PERCENTILES[metric])) if enough else None
        if metric in STREAM_METRICS:
            return self._of_stream(metric)
        if metric == "cpu":
            return sum(self.cpu_us(process) for process in self.services) or None
        if metric == "client_cpu":
            return self.cpu_us(CALLER) or None
        if metric == "wire_bytes":
            return self._wire_bytes()
        raise KeyError(metric)

    def calls_us(self, metric: str) -> NDArray[np.float64]:
        """Of calls one at a time, what each took by `p50` or `cpu` (where only their sum was kept, the mean); not a number
        where a call has no right answer.
        """
        if not self.tables:
            return np.empty(0)
        requests = self.requests
        if metric == "p50":
            values = np.asarray((requests[:, out.DONE] - requests[:, out.SENT]) / 1000, float)
        else:
            kept = [ns for line in self.lines for ns in line.calls_cpu_ns]
            known = len(kept) == len(requests)
            values = np.asarray(kept, float) / 1000 if known else np.full(len(requests), self.value("cpu") or np.nan)
        return np.where(requests[:, out.OUTCOME] == out.OK, values, np.nan)

    def warming(self) -> float | None:
        """How many times as long requests of the first third of the turns took as those of the last; None with too few."""
        third = len(self.tables) // 3
        if not third:
            return None
        ordered = [table for _, table in sorted(zip((line.turn for line in self.lines), self.tables, strict=True),
                                                key=lambda pair: pair[0])]  # fmt: skip
        first, last = (_service_ms(np.concatenate(part)) for part in (ordered[:third], ordered[-third:]))
        if min(len(first), len(last)) < _FEWEST_IN_BLOCK["p50"]:
            return None
        return float(np.median(first) / np.median(last))

    def _of_stream(self, metric: str) -> float | None:
        """The median time to the first message, from the planned time, or from one message to the next; None where replies
        are no streams, where too few were, and where a stream's messages came all at once.
        """
        requests = self.requests
        if requests.shape[1] <= out.MESSAGES:
            return None
        good = requests[requests[:, out.MESSAGES] > (metric == "per_message")]
        if len(good) < _FEWEST_IN_BLOCK["p50"]:
            return None
        if metric == "first_message":
            return float(np.median(good[:, out.FIRST] - good[:, out.PLANNED])) / 1e6
        return float(np.median((good[:, out.LAST] - good[:, out.FIRST]) / (good[:, out.MESSAGES] - 1))) / 1e6 or None

    def _wire_bytes(self) -> float | None:
        known = [line.wire_bytes for line in self.lines if line.wire_bytes is not None]
        if len(known) < len(self.lines):
            return None
        return float(np.sum(known)) / sum(len(table) for table in self.tables) or None


def _differences(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of calls that took turns, at most `NEAR` turns apart; without calls that failed, which are not a number."""
    count = min(len(one), len(other))
    apart = np.subtract.outer(np.arange(count), np.arange(count))
    found = np.subtract.outer(one[:count], other[:count])[abs(apart) <= NEAR]
    return np.asarray(found[~np.isnan(found)], float)


def _service_ms(requests: NDArray[np.int64]) -> NDArray[np.float64]:
    good = requests[requests[:, out.OUTCOME] == out.OK]
    return np.asarray((good[:, out.DONE] - good[:, out.SENT]) / 1e6, float)


def latencies_ms(requests: NDArray[np.int64]) -> NDArray[np.float64]:
    """Latency of the answered requests, from the planned time, in ms."""
    good = requests[requests[:, out.OUTCOME] == out.OK]
    return np.asarray((good[:, out.DONE] - good[:, out.PLANNED]) / 1e6, float)


class Measures:
    """Numbers by cell, arm and block."""

    def __init__(self, run: Samples) -> None:
        self.samples = run
        self._bins: dict[tuple[int, str, int], Bin] = defaultdict(Bin)
        self._alone: dict[tuple[int, str, int], Bin] = defaultdict(Bin)
        for line, table in run.slices:
            if line.kept and len(table):
                bins = self._alone if line.kind == samples.ALONE else self._bins
                found = bins[line.cell, line.arm, line.block]
                found.lines.append(line)
                found.tables.append(table)

    def bins(self, cell: int, arm: str) -> list[Bin]:
        """The blocks of one arm in one cell, in their order."""
        return [found for (c, a, _), found in sorted(self._bins.items()) if (c, a) == (cell, arm)]

    def by_block(self, cell: int, arm: str, metric: str) -> dict[int, float]:
        """The metric's value for each block that has one."""
        if metric == "message_bytes":
            return self._message_bytes(cell, arm)
        if metric == "capacity":
            return self._capacity(cell, arm)
        bins, name = (self._alone, ALONE[metric]) if metric in ALONE else (self._bins, metric)
        values = {b: f.value(name) for (c, a, b), f in sorted(bins.items()) if (c, a) == (cell, arm)}
        least = _LEAST_CARRIED * self._message_size(cell, arm) if metric == "wire_bytes" else 0.0
        return {block: value for block, value in values.items() if value is not None and value > least}

    def shifts_us(self, cell: int, one: str, other: str, metric: str) -> list[float]:
        """By block, by how much calls that are alone take more over `one` than over `other`, in µs: the median of the
        differences of calls at most `NEAR` turns apart. What both met alike is in none of them; and where a busy machine gives
        times long tails or two modes, many pairs say more than each turn's own.
        """
        found = []
        for block in sorted(b for c, a, b in self._alone if (c, a) == (cell, one)):
            pair = [self._alone.get((cell, arm, block), Bin()) for arm in (one, other)]
            values = [bin_.calls_us(metric) for bin_ in pair]
            differences = _differences(*values)
            if min((~np.isnan(each)).sum() for each in values) >= _FEWEST_IN_BLOCK["p50"] and len(differences):
                found.append(float(np.median(differences)))
        return found

    def searches(self, cell: int, arm: str) -> list[dict[str, Any]]:
        """The searches for the arm's capacity, one a block."""
        return [item for item in self.samples.capacities if (item["cell"], item["arm"]) == (cell, arm)]

    def _capacity(self, cell: int, arm: str) -> dict[int, float]:
        found = {item["block"]: capacity.middle(item["bracket"]) for item in self.searches(cell, arm)}
        return {block: value for block, value in sorted(found.items()) if value}

    def _message_bytes(self, cell: int, arm: str) -> dict[int, float]:
        size = self._message_size(cell, arm)
        return {b: float(size) for (c, a, b) in sorted(self._bins) if (c, a) == (cell, arm)} if size else {}

    def _message_size(self, cell: int, arm: str) -> int:
        known = self.samples.experiment.message_bytes
        return known[cell].get(arm, 0) if cell < len(known) else 0

    def paired(self, cell: int, one: str, other: str, metric: str) -> tuple[list[float], list[float]]:
        """Values of two arms over the blocks that both have."""
        first, second = self.by_block(cell, one, metric), self.by_block(cell, other, metric)
        shared = sorted(first.keys() & second.keys())
        return [first[block] for block in shared], [second[block] for block in shared]
