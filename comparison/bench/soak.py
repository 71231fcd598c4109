"""Memory under a load that goes on: does it stay flat?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from crossover.comparison.bench.measure import Bench
from crossover.comparison.bench.points import POINTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.comparison.bench.services import Services

PATHS = (
    "REST JSON, x32", "gRPC, x32", "gRPC, lean port, x32", "to grpc, x32", "to grpc-stream, x32", "to grpc-coalesced, x32",
    "to rest-binary, x32", "to grpc-lean and a lean port, x32", "image, JSON, to grpc, x4", "image, binary, to grpc, x4",
    "image, binary, to rest-binary, x4", "image, binary, to grpc-lean and a lean port, x4",
)  # fmt: skip
"""One after the other, again and again: every wire, small and large, both ways in."""
SETTLED = 0.2
"""The first share of the time is left out of the slope: buffers, caches and arenas grow to their size then."""
_FEWEST = 3

Samples = list[tuple[float, dict[str, int]]]
"""Seconds since the beginning, and proportional set size of each service in bytes."""


def measured(services: Services, minutes: float, seconds: float, tell: Callable[[str], None]) -> Samples:
    """Load for so long, in slices of `seconds`; memory after each time round."""
    bench = Bench(services, seconds)
    began = time.monotonic()
    found: Samples = []
    try:
        while (passed := time.monotonic() - began) < 60 * minutes or len(found) < _FEWEST:
            tell(f"{passed / 60:.1f} of {minutes:g} minutes")
            for name in PATHS:
                bench.measured(POINTS[name])
            found.append((time.monotonic() - began, services.memory()))
    finally:
        bench.close()
    return found


def slope(samples: Samples, service: str) -> float:
    """Bytes per minute by least squares, over what follows the settling."""
    last = samples[-1][0]
    kept = [(at / 60, memory[service]) for at, memory in samples if at >= SETTLED * last]
    minutes, sizes = np.array(kept, float).T
    return float(np.polyfit(minutes, sizes, 1)[0])


def table(samples: Samples) -> Table:
    """A row a service: memory at the beginning, after settling, at the end, and its slope."""
    shown = Table(title=f"memory (PSS), MB, over {samples[-1][0] / 60:.1f} minutes of load", title_justify="left")
    for column in ("", "first", "settled", "last", "MB a minute"):
        shown.add_column(column, justify="right" if column else "left")
    settled = next(memory for at, memory in samples if at >= SETTLED * samples[-1][0])
    for service in samples[0][1]:
        sizes = (samples[0][1][service], settled[service], samples[-1][1][service])
        shown.add_row(service, *(f"{size / 1e6:.0f}" for size in sizes), f"{slope(samples, service) / 1e6:+.2f}")
    return shown
