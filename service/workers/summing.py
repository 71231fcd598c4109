"""Several workers' metrics as one text in Prometheus' format: counters add up, gauges merge as the table says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_JOINED: dict[str, Callable[[float, float], float]] = {
    "crossover_build_info": max,
    "crossover_event_loop_lag_seconds": max,
    "crossover_event_loop_longest_turn_cpu_seconds": max,
    "crossover_fast_path": min,
    "crossover_model_expected_wait_seconds": max,
    "crossover_upstream_replica_ready": min,
    "crossover_upstream_replica_ejected": max,
    "process_start_time_seconds": min,
    "python_info": max,
}
"""Gauges whose sum means nothing. All others are amounts: bytes, connections, requests, CPU seconds."""
_COUNTED = (b"counter", b"histogram")
_TRITONS = b"nv_"
"""Their gauges aside, counters whose type cannot be said (service/metrics.py)."""


class _Family:
    def __init__(self, name: bytes) -> None:
        self.name = name
        self.kind = b"untyped"
        self.head: list[bytes] = []
        self.samples: dict[bytes, float] = {}
        self.joined = _JOINED.get(name.decode())

    def add(self, sample: bytes, value: float) -> None:
        before = self.samples.get(sample)
        if before is None:
            self.samples[sample] = value
        else:
            self.samples[sample] = self.joined(before, value) if self.joined else before + value

    @property
    def is_counted(self) -> bool:
        """Whether its numbers only grow, so that they count on when their worker has ended."""
        return self.kind in _COUNTED or (self.kind == b"untyped" and self.name.startswith(_TRITONS))


def summed(texts: Iterable[bytes], ended: Iterable[bytes] = ()) -> bytes:
    """One text of all workers'. `ended`: the last texts of workers that are no more, of which only counts go on."""
    families: dict[bytes, _Family] = {}
    for text in texts:
        for family, sample, value in _samples(text, families):
            family.add(sample, value)
    for text in ended:
        for family, sample, value in _samples(text, families):
            if family.is_counted:
                family.add(sample, value)
    return b"".join(_written(family) for family in families.values())


def _samples(text: bytes, families: dict[bytes, _Family]) -> Iterator[tuple[_Family, bytes, float]]:
    family = _Family(b"")
    for line in text.split(b"\n"):
        if line.startswith(b"# "):
            _, what, name, *rest = line.split(b" ", 3)
            family = families.setdefault(name, _Family(name))
            if what == b"TYPE":
                family.kind = rest[0] if rest else family.kind
            if line not in family.head:
                family.head.append(line)
        elif line:
            sample, _, value = line.rpartition(b" ")
            yield family, sample, float(value)


def _number(value: float) -> bytes:
    return str(floatToGoString(value)).encode()  # type: ignore[no-untyped-call]


def _written(family: _Family) -> bytes:
    lines = [
        *family.head,
        *(sample + b" " + _number(value) for sample, value in family.samples.items()),
    ]
    return b"\n".join(lines) + b"\n"
