"""The part of a block that goes over one network: its services, its load generator, and what is done before timing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.comparison.design import schedule
from crossover.comparison.design.outcomes import DONE, OK, OUTCOME, SENT, WRONG
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.services.ask import LostError, WrongReplyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crossover.comparison.design.arms import Arm
    from crossover.comparison.design.cells import Block, Slice
    from crossover.comparison.design.outcomes import Record, Table
    from crossover.comparison.experiment.preparation import Prepared
    from crossover.comparison.load.generator import Runner
    from crossover.comparison.services.views import View

_WARM_SECONDS, _MOST_WARM = 0.1, 60
_WARM_CALLERS, _WARM_CALLERS_FAR = 2, 8
"""Connections that are opened beforehand; over a network more requests are under way at once, and each start costs."""
_STAGE_SECONDS, _MOST_STAGED = 0.25, 30


@dataclass(slots=True)
class Part:
    """What a block has at hand while it goes over one network."""

    block: Block
    network: str
    slices: list[Slice]
    arms: dict[str, Arm]
    prepared: Prepared
    view: View
    generator: Runner

    @property
    def cells(self) -> list[int]:
        return sorted({item.cell for item in self.slices})

    def arms_of(self, c: int) -> list[Arm]:
        """The arms that run in a cell."""
        return [self.arms[name] for name in self.prepared.cells[c].arms or self.arms]

    def drive(
        self, c: int, arm: Arm, drawn: schedule.Schedule, callers: int | None = None, *, stages: bool = False
    ) -> Record:
        """Drive one schedule through one arm; `callers` is the cell's own number unless it is given."""
        concurrency = callers or self.prepared.cells[c].concurrency
        return self.generator.run(self.view.work(c, arm, drawn, concurrency, stages=stages))

    def closed(self, c: int, arm: Arm, count: int, callers: int) -> Record:
        """`count` requests in the closed loop."""
        return self.drive(c, arm, schedule.closed(count, self.view.variants(c), 0), callers)

    def rate(self, c: int) -> float:
        """The cell's rate, or in the closed loop what its slowest arm reached in the probe, requests per second."""
        return self.prepared.cells[c].rate or min(self.prepared.capacity[c].values())

    def probed(self, c: int, arm: Arm) -> float:
        """What the arm, or the one that it repeats, reached in the probe, requests per second."""
        found = self.prepared.capacity[c]
        return found.get(arm.name) or found.get(arm.upstream) or min(found.values())


def check_answers(arm: str, table: Table, complaint: str) -> None:
    """WrongReplyError for a service that answers wrongly, LostError for one that answers nothing: no run goes on with it."""
    outcomes = table[:, OUTCOME]
    if (outcomes == WRONG).any():
        raise WrongReplyError(f"arm '{arm}' gave a wrong reply: {complaint}")
    if not (outcomes == OK).any():
        raise LostError(f"arm '{arm}' answered none of {len(table)} requests: {complaint or 'silence'}")


def first_requests(part: Part) -> dict[str, float]:
    """Milliseconds of each arm's very first request on these services, in the block's own order of arms."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(item.arm for item in part.slices):
        if part.arms[name].role == "arm":
            record = part.closed(part.cells[0], part.arms[name], 1, 1)
            check_answers(name, record.requests, record.complaint)
            found[name] = float(record.requests[0, DONE] - record.requests[0, SENT]) / 1e6
    return found


def warm(part: Part) -> None:
    """Every arm and cell is used before anything is timed: connections, lazy imports, caches, clocks."""
    callers = _WARM_CALLERS if part.network == LOOPBACK else _WARM_CALLERS_FAR
    for c in part.cells:
        for arm in part.arms_of(c):
            count = max(schedule.FEWEST, min(_MOST_WARM, round(_WARM_SECONDS * part.probed(c, arm))))
            record = part.closed(c, arm, count, callers)
            check_answers(arm.name, record.requests, record.complaint)


def staged(part: Part) -> Iterator[tuple[str, int, list[dict[str, int]]]]:
    """Arm, cell and stamps of slices of their own, in which every station stamps; none of these requests is timed."""
    for c in part.cells if part.view.has_stages else ():
        slow = part.prepared.cells[c].slow
        for arm in part.arms_of(c):
            if arm.role == "arm" and (not slow or arm.name in slow):
                fewest = 2 if slow else schedule.FEWEST
                count = min(_MOST_STAGED, schedule.count_for(part.rate(c), _STAGE_SECONDS, fewest))
                drawn = schedule.poisson(part.rate(c), count, part.view.variants(c), part.block.seed)
                yield arm.name, c, part.drive(c, arm, drawn, stages=True).stages
