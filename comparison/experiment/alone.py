"""Calls one at a time, through the reference and through the control: where a known delay is all that shows.

Under load a delay also makes others wait, so that every percentile of latency shows more than its length; and while they
wait they gather, so that the services are woken less often and CPU per request shows less. A call that is alone meets no
queue.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crossover.comparison.design.arms import CONTROL, REFERENCE
from crossover.comparison.design.samples import ALONE, SliceLine
from crossover.comparison.experiment import slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crossover.comparison.design.outcomes import Table
    from crossover.comparison.experiment.part import Part

_TURNS, _SECONDS = 6, 0.1
_FEWEST, _MOST = 5, 40


def measured(part: Part) -> Iterator[tuple[SliceLine, Table]]:
    """A few short slices of each arm in every cell that has a known delay, in turn (ABBA)."""
    arms = [part.arms[name] for name in (REFERENCE, CONTROL) if name in part.arms]
    for c in part.cells:
        if len(arms) < 2 or not part.prepared.busy_ns[c]:
            continue
        count = max(_FEWEST, min(_MOST, round(_SECONDS * part.probed(c, arms[0]) / 2)))
        for turn in range(_TURNS):
            for arm in arms if turn % 2 == 0 else arms[::-1]:
                time.sleep(slices.SETTLE_SECONDS / 2)
                before = part.view.cpu_ns()
                record = part.closed(c, arm, count, 1)
                time.sleep(slices.SETTLE_SECONDS / 2)
                spent = slices.spent(before, part.view.cpu_ns())
                yield (
                    _line(part, c, arm.name, turn, part.view.charge(arm, spent, record), record.wall_ns),
                    record.requests,
                )


def _line(part: Part, c: int, arm: str, turn: int, cpu_ns: dict[str, int], wall_ns: int) -> SliceLine:
    return SliceLine(
        block=part.block.index, cell=c, arm=arm, turn=turn, seed=0, cpu_ns=cpu_ns, wall_ns=wall_ns, wire_bytes=None,
        steal=0.0, others=0.0, pressure=0.0, kind=ALONE,
    )  # fmt: skip
