"""Calls one at a time, through the reference and through the control: where a known delay is all that shows.

Under load a delay also makes others wait, so that every percentile of latency shows more than its length; and while they
wait they gather, so that the services are woken less often and CPU per request shows less. A call that is alone meets no
queue.

The two take turns call by call, in random order, and not slice by slice. How dear it is to wake a process on a virtual CPU
depends on how long its CPU slept the last few times: kernel and hypervisor poll before they halt it, and give that up after
long sleeps (`guest_halt_poll_ns`, `halt_poll_ns`). In a row of slow calls every wake-up is dear, in a row of fast ones cheap:
such rows found 403 us as 555. Taking turns gives both the same history.

Turns go on until their differences say the delay closely enough: a quiet machine takes some dozens, a busy one hundreds.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from crossover.comparison.analysis import quantiles
from crossover.comparison.analysis.measures import APPARATUS
from crossover.comparison.design import outcomes as out
from crossover.comparison.design.arms import CONTROL, REFERENCE
from crossover.comparison.design.samples import ALONE, SliceLine
from crossover.comparison.experiment import slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crossover.comparison.analysis.quantiles import Numbers
    from crossover.comparison.design.outcomes import Record, Table
    from crossover.comparison.experiment.part import Part

Call: TypeAlias = "tuple[Record, dict[str, int]]"
"""One call, and the CPU time that each process took for it."""

BATCH, MOST = 20, 400
"""Turns between two looks at what they say, and the most of them."""
CLOSE = 0.1
"""The interval of a block's median difference reaches so large a share of the delay either way when it is close enough."""
_SECONDS = 3.0
"""No batch begins later, however far the differences still lie apart."""
_PAUSE_S = 0.002
"""Between a call and the reading of its CPU time, so that what a service does after its answer is counted."""


def measured(part: Part) -> Iterator[tuple[SliceLine, Table]]:
    """The calls of each arm, in every cell that has a known delay."""
    arms = [name for name in (REFERENCE, CONTROL) if name in part.arms]
    for c in part.cells:
        if len(arms) < 2 or not part.prepared.busy_ns[c]:
            continue
        for name, calls in _calls(part, c, arms).items():
            yield _line(part, c, name, calls), np.concatenate([record.requests for record, _ in calls])


def _calls(part: Part, c: int, arms: list[str]) -> dict[str, list[Call]]:
    """The calls of each arm, in the order of their turns."""
    found: dict[str, list[Call]] = {name: [] for name in arms}
    until = time.monotonic() + _SECONDS
    for number, turn in enumerate(turns(arms, MOST, part.block.seed + c)):
        is_due = number and number % BATCH == 0
        if is_due and (time.monotonic() > until or _says_enough(found, part.prepared.busy_ns[c])):
            break
        for name in turn:
            found[name].append(_call(part, c, name))
    return found


def turns(arms: list[str], count: int, seed: int) -> list[list[str]]:
    """`count` turns in each of which every arm comes once, in random order."""
    drawn = random.Random(seed)
    return [drawn.sample(arms, len(arms)) for _ in range(count)]


def _says_enough(calls: dict[str, list[Call]], delay_ns: int) -> bool:
    """Whether the differences of the turns so far lie close together, by time and by the services' CPU."""
    return all(
        is_close([of(one) - of(other) for one, other in zip(calls[CONTROL], calls[REFERENCE], strict=True)], delay_ns)
        for of in (_took_ns, _spent_ns)
    )


def is_close(differences: Numbers, delay_ns: int) -> bool:
    """Whether the interval of the median of `differences` is as narrow as `CLOSE` asks for."""
    found = quantiles.quantile(differences, 0.5)
    return found is not None and found.half_width <= CLOSE * delay_ns


def _took_ns(call: Call) -> int:
    requests = call[0].requests
    return int(requests[0, out.DONE] - requests[0, out.SENT])


def _spent_ns(call: Call) -> int:
    """CPU time of the services."""
    return sum(ns for process, ns in call[1].items() if process not in APPARATUS)


def _call(part: Part, c: int, name: str) -> Call:
    before = part.view.cpu_ns()
    record = part.closed(c, part.arms[name], 1, 1)
    time.sleep(_PAUSE_S)
    return record, part.view.charge(part.arms[name], slices.spent(before, part.view.cpu_ns()), record)


def _line(part: Part, c: int, arm: str, calls: list[Call]) -> SliceLine:
    cpu_ns: dict[str, int] = {}
    for _, spent in calls:
        for process, ns in spent.items():
            cpu_ns[process] = cpu_ns.get(process, 0) + ns
    return SliceLine(
        block=part.block.index, cell=c, arm=arm, turn=0, seed=part.block.seed + c, cpu_ns=cpu_ns,
        wall_ns=sum(record.wall_ns for record, _ in calls), wire_bytes=None,
        steal=0.0, others=0.0, pressure=0.0, kind=ALONE, calls_cpu_ns=[_spent_ns(call) for call in calls],
    )  # fmt: skip
