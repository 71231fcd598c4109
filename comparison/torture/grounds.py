"""The table of everything that `make torture` tries: grounds, in their order, with their settings and promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crossover.comparison.torture import doors, drain, faults, http, http2, isolation, overload
from crossover.comparison.torture.promise import Promise


@dataclass(frozen=True, slots=True)
class Plan:
    """What services are started with, and what is tried on them."""

    promises: tuple[Promise, ...]
    settings: Mapping[str, str]
    repository: Callable[[Path], None] | None = None
    """Fills the folder of the models that are served, where they are not the committed ones."""
    made: Callable[[Path], Mapping[str, str]] | None = None
    """Settings that name files, which it makes in a folder."""


PLANS = {
    "http": Plan(http.PROMISES, http.SETTINGS),
    "lean": Plan(http2.LEAN, http2.LEAN_SETTINGS),
    "grpcio": Plan(http2.GRPCIO, http2.GRPCIO_SETTINGS),
    "overload": Plan(overload.PROMISES, overload.SETTINGS, repository=overload.repository),
    "faults": Plan(faults.PROMISES, faults.SETTINGS),
    "drain": Plan(drain.PROMISES, drain.SETTINGS),
    "isolation": Plan(isolation.PROMISES, isolation.SETTINGS, repository=isolation.repository),
    "doors": Plan(doors.PROMISES, {}, made=doors.keys),
}
PROMISES = {promise.name: promise for plan in PLANS.values() for promise in plan.promises}
