"""One slice: an arm driven for a short while, and what the kernel counted meanwhile."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.comparison.design import schedule
from crossover.comparison.design.arms import UNCOUNTED
from crossover.comparison.design.samples import SliceLine
from crossover.comparison.machine import cpu, sockets
from crossover.comparison.network.profiles import LOOPBACK

if TYPE_CHECKING:
    from crossover.comparison.design.arms import Arm
    from crossover.comparison.design.cells import Slice
    from crossover.comparison.design.outcomes import Record, Table
    from crossover.comparison.experiment.part import Part
    from crossover.comparison.machine.cpu import Machine
    from crossover.comparison.network.link import Counters
    from crossover.comparison.services.views import View

NOISY_STEAL, NOISY_OTHERS = 0.02, 0.15
"""A slice is noisy when the hypervisor took more than 2 % of the machine, or other programs used more than 15 %."""
SETTLE_SECONDS = 0.01


def is_noisy(line: SliceLine) -> bool:
    return line.steal > NOISY_STEAL or line.others > NOISY_OTHERS


def spent(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """CPU time between two readings, for the processes that are in both."""
    return {name: ns - before[name] for name, ns in after.items() if name in before}


def measured(part: Part, item: Slice, seconds: float) -> tuple[SliceLine, Table]:
    """Drive the slice's schedule and give its requests, with CPU, bytes and noise over its time."""
    arm = part.arms[item.arm]
    drawn = _schedule(part, item, seconds)
    time.sleep(SETTLE_SECONDS)
    before = _Reading.now(part.view)
    record = part.drive(item.cell, arm, drawn)
    time.sleep(SETTLE_SECONDS / 2)
    after = _Reading.now(part.view)
    return _line(part, item, arm, record, before, after), record.requests


def _schedule(part: Part, item: Slice, seconds: float) -> schedule.Schedule:
    rate, variants = part.rate(item.cell), part.view.variants(item.cell)
    count = schedule.count_for(rate, seconds)
    if part.prepared.cells[item.cell].rate is None:
        return schedule.closed(count, variants, item.seed)
    return schedule.poisson(rate, count, variants, item.seed)


@dataclass(frozen=True, slots=True)
class _Reading:
    """All counters at one moment."""

    at_ns: int
    machine: Machine
    services: dict[str, int]
    own_ns: int
    carried: dict[bytes, int] | None
    packets: Counters | None

    @staticmethod
    def now(view: View) -> _Reading:
        return _Reading(
            time.monotonic_ns(), cpu.machine(), view.cpu_ns(), cpu.process_cpu_ns(os.getpid()), view.hop_bytes(), view.packets()
        )  # fmt: skip


def _line(part: Part, item: Slice, arm: Arm, record: Record, before: _Reading, after: _Reading) -> SliceLine:
    services = spent(before.services, after.services)
    seen = after.machine.since(before.machine)
    ours = sum(services.values()) + record.cpu_ns + after.own_ns - before.own_ns
    line = SliceLine(
        block=item.block,
        cell=item.cell,
        arm=item.arm,
        turn=item.turn,
        seed=item.seed,
        cpu_ns=part.view.charge(arm, services, record),
        wall_ns=record.wall_ns,
        wire_bytes=_carried(part, arm, before.carried, after.carried),
        steal=seen.steal_ns / max(1, seen.total_ns),
        others=max(0.0, (seen.busy_ns - ours) / max(1, seen.total_ns)) if part.view.sees_services else 0.0,
        pressure=seen.pressure_ns / max(1, after.at_ns - before.at_ns),
        complaint=record.complaint,
        opened=record.opened,
        generators=record.generators,
    )
    if before.packets and after.packets:
        went = after.packets.since(before.packets)
        line.wire_late_us = [went.late_percentile_us(0.5), went.late_percentile_us(0.99)]
        line.packets_lost = went.lost + went.overflowed
    return line


def _carried(part: Part, arm: Arm, before: dict[bytes, int] | None, after: dict[bytes, int] | None) -> int | None:
    """Bytes over the hop; None where they cannot be counted."""
    uncounted = arm.upstream in UNCOUNTED if part.network == LOOPBACK else arm.kind == "process"
    if before is None or after is None or uncounted:
        return None
    return sockets.since(before, after)
