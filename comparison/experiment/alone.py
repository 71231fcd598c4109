"""Calls one at a time, through the reference and through the control: where a known delay is all that shows.

Under load a delay also makes others wait, so that every percentile of latency shows more than its length; and while they
wait they gather, so that the services are woken less often and CPU per request shows less. A call that is alone meets no
queue.

The two take turns call by call, in random order, and not slice by slice. How dear it is to wake a process on a virtual CPU
depends on how long its CPU slept the last few times: kernel and hypervisor poll before they halt it, and give that up after
long sleeps (`guest_halt_poll_ns`, `halt_poll_ns`). In a row of slow calls every wake-up is dear, in a row of fast ones cheap:
such rows found 403 us as 555. Taking turns gives both the same history.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.design.arms import CONTROL, REFERENCE
from crossover.comparison.design.samples import ALONE, SliceLine
from crossover.comparison.experiment import slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crossover.comparison.design.outcomes import Record, Table
    from crossover.comparison.experiment.part import Part

_SECONDS = 1.0
_FEWEST, _MOST = 8, 60
_PAUSE_S = 0.002
"""Between a call and the reading of its CPU time, so that what a service does after its answer is counted."""


def measured(part: Part) -> Iterator[tuple[SliceLine, Table]]:
    """The calls of each arm, in every cell that has a known delay."""
    arms = [name for name in (REFERENCE, CONTROL) if name in part.arms]
    for c in part.cells:
        if len(arms) < 2 or not part.prepared.busy_ns[c]:
            continue
        count = max(_FEWEST, min(_MOST, round(_SECONDS * part.probed(c, part.arms[REFERENCE]) / 10)))
        calls: dict[str, list[tuple[Record, dict[str, int]]]] = {name: [] for name in arms}
        for name in turns(arms, count, part.block.seed + c):
            calls[name].append(_call(part, c, name))
        for name, found in calls.items():
            yield _line(part, c, name, found), np.concatenate([record.requests for record, _ in found])


def turns(arms: list[str], count: int, seed: int) -> list[str]:
    """`count` turns in each of which every arm comes once, in random order."""
    drawn = random.Random(seed)
    return [name for _ in range(count) for name in drawn.sample(arms, len(arms))]


def _call(part: Part, c: int, name: str) -> tuple[Record, dict[str, int]]:
    """One call, and the CPU time that each process took for it."""
    before = part.view.cpu_ns()
    record = part.closed(c, part.arms[name], 1, 1)
    time.sleep(_PAUSE_S)
    return record, part.view.charge(part.arms[name], slices.spent(before, part.view.cpu_ns()), record)


def _line(part: Part, c: int, arm: str, calls: list[tuple[Record, dict[str, int]]]) -> SliceLine:
    cpu_ns: dict[str, int] = {}
    for _, spent in calls:
        for process, ns in spent.items():
            cpu_ns[process] = cpu_ns.get(process, 0) + ns
    return SliceLine(
        block=part.block.index, cell=c, arm=arm, turn=0, seed=part.block.seed + c, cpu_ns=cpu_ns,
        wall_ns=sum(record.wall_ns for record, _ in calls), wire_bytes=None,
        steal=0.0, others=0.0, pressure=0.0, kind=ALONE,
    )  # fmt: skip
