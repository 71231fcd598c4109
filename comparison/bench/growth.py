"""How the cost of a request grows: with its payload, its rows, the number of callers, the number of models."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from crossover.comparison.bench.measure import Bench
from crossover.comparison.bench.points import Point
from crossover.comparison.bench.services import COPY
from crossover.protocol.messages import InferRequest
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from crossover.comparison.bench.services import Services

MOST_MODELS = 64
_FEW, _MANY = 4, 32
Found = dict[str, dict[str, dict[str, float]]]
"""Sweep -> line -> x -> CPU per request, µs: the median over the rounds."""


@dataclass(frozen=True, slots=True)
class Line:
    """A path whose cost is followed."""

    name: str
    service: str
    wire: str
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One thing that grows."""

    title: str
    xs: tuple[int, ...]
    lines: tuple[Line, ...]
    payload: str
    """Name of the payload at x, with {} for x."""
    callers: int | None
    """How many at once; None: x is the number of callers."""

    def points(self) -> list[tuple[str, int, Point]]:
        return [
            (line.name, x, Point(
                f"{self.title} {x}: {line.name}", line.service, line.wire, self.payload.format(x), self.callers or x,
                upstream=line.upstream,
            ))
            for line in self.lines for x in self.xs
        ]  # fmt: skip


_JSON, _BINARY, _GRPC = (
    Line("model server, REST JSON", "model server", "rest"),
    Line("model server, REST binary", "model server", "rest-binary"),
    Line("model server, gRPC", "model server", "grpc"),
)
_TO_GRPC, _TO_REST = (
    Line("gateway to grpc, binary in", "gateway", "rest-binary", "grpc"),
    Line("gateway to rest-binary, binary in", "gateway", "rest-binary", "rest-binary"),
)
_SMALL = (
    Line("uvicorn alone", "floor", "rest"),
    Line("grpc.aio alone", "floor", "grpc"),
    _JSON,
    _GRPC,
    Line("gateway to grpc", "gateway", "rest", "grpc"),
    Line("gateway to rest-binary", "gateway", "rest", "rest-binary"),
)
_BYTES = tuple(1 << power for power in range(10, 25, 2))
SWEEPS = (
    Sweep("payload, bytes each way", _BYTES, (_JSON, _BINARY, _GRPC, _TO_GRPC, _TO_REST), "identity {}", _FEW),
    Sweep("rows of a batch", (1, 8, 64, 512), (_JSON, _BINARY, _GRPC, _TO_GRPC), "rows {}", _FEW),
    Sweep("callers at once", (1, 4, 32, 128, 256), _SMALL, "digits", None),
    Sweep("models in turn", (1, 8, MOST_MODELS), (_JSON, _GRPC), "models {}", _MANY),
)


def count() -> int:
    """Points of all sweeps."""
    return sum(len(sweep.points()) for sweep in SWEEPS)


def measured(services: Services, rounds: int, seconds: float, tell: Callable[[str], None]) -> Found:
    """Every point once a round, in a new random order each."""
    _add_payloads(services)
    every = [(sweep.title, name, x, point) for sweep in SWEEPS for name, x, point in sweep.points()]
    seen: dict[tuple[str, str, int], list[float]] = {}
    bench = Bench(services, seconds)
    try:
        for number in range(rounds):
            for index in np.random.default_rng(number).permutation(len(every)):
                title, name, x, point = every[index]
                tell(f"round {number + 1}/{rounds}  {point.name}")
                seen.setdefault((title, name, x), []).append(bench.measured(point).cpu_us)
    finally:
        bench.close()
    found: Found = {}
    for sweep in SWEEPS:
        for name, x, _ in sweep.points():
            found.setdefault(sweep.title, {}).setdefault(name, {})[str(x)] = statistics.median(
                seen[sweep.title, name, x]
            )
    return found


def _add_payloads(services: Services) -> None:
    random = np.random.default_rng(2)

    def digits(model: str, rows: int) -> InferRequest:
        return InferRequest(model, [Tensor.from_array("x", random.integers(0, 17, (rows, 64)).astype(np.float32))])

    for size in _BYTES:
        x = random.standard_normal((1, size // 4), np.float32)
        services.add(f"identity {size}", [InferRequest("identity", [Tensor.from_array("x", x)])])
    for rows in (1, 8, 64, 512):
        services.add(f"rows {rows}", [digits("digits", rows)])
    for models in (1, 8, MOST_MODELS):
        services.add(f"models {models}", [digits(COPY.format(number), 1) for number in range(models)])


def tables(found: Found) -> Iterable[Table]:
    """A table a sweep: CPU per request in µs."""
    for sweep in SWEEPS:
        table = Table(title=f"CPU per request, us, by {sweep.title}", title_justify="left")
        table.add_column("", width=34)
        for x in sweep.xs:
            table.add_column(short(x), justify="right")
        for line in sweep.lines:
            table.add_row(line.name, *(f"{found[sweep.title][line.name][str(x)]:,.0f}" for x in sweep.xs))
        yield table


def short(value: int) -> str:
    """A number on an axis: K and M are powers of 1024."""
    for unit, size in (("M", 1 << 20), ("K", 1 << 10)):
        if value >= size:
            return f"{value // size}{unit}"
    return str(value)
