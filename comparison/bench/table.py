"""What the rounds say: medians with their range, and the ratio to the floor within each round."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from rich.table import Table

from crossover.comparison.bench import gateways
from crossover.comparison.bench.points import ENGINE, POINTS, SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from crossover.comparison.bench.measure import Figure
    from crossover.comparison.bench.points import Point

Rounds = list[dict[str, "Figure"]]
STEPS = {
    "P": "bytecode_ns", "S": "syscall_ns", "W": "context_switch_ns", "C": "copy_1mb_us", "M": "scattered_read_ns",
    "T": "tls_record_16kb_us",
}  # fmt: skip
"""Letters for what machine/calibration.py measures."""
_GRPCIO = frozenset({"grpc", "grpc-stream", "grpc-coalesced", "bare-stub"})
IMAGE_BYTES = 3 * 224 * 224 * 4


def floor_us(found: dict[str, Figure], point: Point) -> float | None:
    """CPU per request of the point's floors together in one round, µs; None where it has none or one was left out."""
    if not point.floor or any(name not in found for name in point.floor):
        return None
    return sum(found[name].cpu_us for name in point.floor)


def ratio(rounds: Rounds, point: Point) -> float | None:
    """The median over rounds of CPU per request over its floor."""
    pairs = [(found[point.name].cpu_us, floor_us(found, point)) for found in rounds]
    ratios = [cpu / floor for cpu, floor in pairs if floor]
    return statistics.median(ratios) if ratios else None


def copies(rounds: Rounds, point: Point, copy_us: float) -> float | None:
    """CPU beyond the digits' on the same path, in copies of the image's bytes; None where text has to be read."""
    small = _same_path_with_digits(point)
    if point.payload != "image" or point.wire == "rest" or small is None or small not in rounds[0]:
        return None
    return statistics.median((found[point.name].cpu_us - found[small].cpu_us) / copy_us for found in rounds)


def _same_path_with_digits(point: Point) -> str | None:
    """The point that differs in the payload and load alone. The JSON of the digits is short enough to stand for binary."""
    wire = "rest" if point.wire == "rest-binary" and not point.caller_pays else point.wire
    wanted = point.service, wire, point.upstream, point.caller_pays
    many = [other for other in POINTS.values() if other.payload == "digits" and other.callers > 1]
    return next((o.name for o in many if (o.service, o.wire, o.upstream, o.caller_pays) == wanted), None)


def steps(point: Point) -> str:
    """The letters of the host's basic steps (`STEPS`) that a row is made of most: by these it differs on another host."""
    if point.payload == "image":
        return "CM" if point.wire == "rest-binary" or "grpc" in point.wire else "PC"
    through_grpcio = "lean" not in point.service and (
        point.wire in _GRPCIO or point.upstream in _GRPCIO or point.service in gateways.BY_DEFAULT_UPSTREAM
    )
    found = "P" if point.callers > 1 else "W"
    found += "SW" if through_grpcio and point.callers > 1 else "S"
    return found + ("T" if point.service == "gateway with TLS" else "")


def tables(rounds: Rounds, copy_us: float) -> Iterable[Table]:
    """A table a section."""
    engine = Table(title="Floors: the engine alone (session.run in a loop)", title_justify="left")
    engine.add_column("", width=38)
    engine.add_column("CPU us", justify="right")
    for name in ENGINE.values():
        engine.add_row(name, _spread([found[name].cpu_us for found in rounds]))
    yield engine
    for title, points in SECTIONS.items():
        measured = [point for point in points if point.name in rounds[0]]
        if measured:
            yield _section(title, measured, rounds, copy_us)


def _section(title: str, points: list[Point], rounds: Rounds, copy_us: float) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", width=38)
    for column in ("CPU us/request", "of its floor", "copies", "requests/s", "p50 us"):
        table.add_column(column, justify="right")
    table.add_column("steps")
    for point in points:
        figures = [found[point.name] for found in rounds]
        table.add_row(
            point.name,
            _spread([figure.cpu_us for figure in figures]),
            _times(ratio(rounds, point)),
            _plain(copies(rounds, point, copy_us)),
            f"{statistics.median(figure.rate for figure in figures):,.0f}",
            f"{statistics.median(figure.p50_us for figure in figures):,.0f}",
            steps(point),
        )
    return table


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f}-{max(values):,.1f})"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}x"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
