"""`python -m comparison run`: prepare, measure block by block, keep everything, say what it shows."""

from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from comparison.analysis import capacity
from comparison.analysis.capacity import Search
from comparison.experiment import preparation, schedule
from comparison.experiment.arms import UNCOUNTED
from comparison.experiment.design import plan
from comparison.experiment.preparation import Prepared
from comparison.experiment.samples import Experiment, SliceLine, Writer
from comparison.lab import wires as lab_wires
from comparison.load.generator import Generator, GeneratorError
from comparison.load.outcomes import DONE, SENT
from comparison.machine import cpu
from comparison.network.networks import Networks
from comparison.network.profiles import LOOPBACK
from comparison.options import UsageError
from comparison.services import ask
from comparison.services.fleet import FleetError
from comparison.services.views import ORACLE, Foreign, ours
from protocol.wires import Target

if TYPE_CHECKING:
    from types import FrameType

    from comparison.experiment.arms import Arm
    from comparison.experiment.design import Block, Slice
    from comparison.load.outcomes import Table
    from comparison.options import Options
    from comparison.services.views import View
    from protos import inference as pb

NOISY_STEAL, NOISY_OTHERS = 0.02, 0.15
"""A slice is run again when the hypervisor took more than 2 % of the machine, or other programs used more than 15 %."""
_MOST_RERUNS = 0.10
"""Share of all slices that may be run again; after that noisy ones are kept."""
_WARM_SECONDS, _MOST_WARM = 0.1, 60
_WARM_CALLERS, _WARM_CALLERS_FAR = 2, 8
"""Connections that are opened beforehand; over a network more requests are under way at once, and each start costs."""
_STAGE_SECONDS, _MOST_STAGED = 0.25, 30
_SETTLE_SECONDS = 0.02
_START = 0.7
"""Where a search for the capacity begins, as a share of what the arm reached in the probe."""


class Progress(Protocol):
    """Told how far the run is."""

    def tell(self, text: str) -> None: ...

    def total(self, slices: int) -> None: ...

    def step(self, text: str) -> None: ...


class Run:
    """One run of the experiment, from the first probe to the last slice."""

    def __init__(self, options: Options, command: str, progress: Progress) -> None:
        self.options, self.command, self.progress = options, command, progress
        self.writer = Writer(options.out)
        self.stopped = ""
        """Why the run ended before its plan; empty when it did not."""
        self.measured = 0
        self._reruns_left = 0
        self._arms = {arm.name: arm for arm in options.arms}

    def measure(self) -> None:
        """Measure everything; Ctrl-C, SIGTERM and dying services end it early, and `stopped` says why.

        Raises what forbids measuring at all: UsageError, FleetError, AskError.
        """
        lab_wires.register()
        previous = signal.signal(signal.SIGTERM, _interrupt)
        try:
            self._measure()
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        except (FleetError, GeneratorError, ask.AskError, OSError) as error:
            if not self.measured:
                raise
            self.stopped = str(error)
        finally:
            signal.signal(signal.SIGTERM, previous)

    def _measure(self) -> None:
        with Networks(self.options.networks, self.options.seed, self.progress.tell) as self._networks:
            if not self._networks.usable:
                raise UsageError("; ".join(self._networks.notes))
            self._measure_over_networks()

    def _measure_over_networks(self) -> None:
        self.progress.tell("starting the services")
        prepared, metadata = self._prepare()
        blocks = plan(self.options.blocks, len(prepared.cells), list(self._arms), self.options.turns, self.options.seed)
        slices = sum(len(block.slices) for block in blocks)
        self._reruns_left = math.ceil(_MOST_RERUNS * slices)
        self.writer.experiment(self._experiment(prepared))
        self.progress.total(slices + self._searched(prepared) * len(blocks))
        for block in blocks:
            for network, part in _by_network(block, prepared).items():
                self._block(block, network, part, prepared, metadata)

    def _view(self, seed: int, network: str) -> View:
        if self.options.foreign:
            rest, grpc = self.options.rest, self.options.grpc
            target = Target(grpc or Target().grpc, rest or Target().rest)
            return Foreign(target, ORACLE if rest else "grpc")
        link = self._networks.use(network, seed)
        options = self.options
        return ours(options.view, options.repository, options.out / "services.log", seed, link, tls=options.tls)

    def _prepare(self) -> tuple[Prepared, pb.ModelMetadataResponse]:
        prepared = Prepared([], [], [], [])
        for network in self._networks.usable:
            found, metadata = self._prepare_over(network)
            prepared.add(found)
        return prepared, metadata

    def _prepare_over(self, network: str) -> tuple[Prepared, pb.ModelMetadataResponse]:
        view = self._view(self.options.seed, network)
        try:
            wire = "grpc" if self.options.foreign and not self.options.rest else "rest"
            metadata = ask.metadata(wire, view.target, self.options.model)
            with Generator(view.driver) as generator:
                found = preparation.prepare(self.options, view, generator, metadata, network, self.progress.tell)
                return found, metadata
        finally:
            view.stop()

    def _experiment(self, prepared: Prepared) -> Experiment:
        options = self.options
        return Experiment(
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            command=self.command,
            model=options.model,
            cells=prepared.cells,
            arms=list(self._arms),
            options={
                "seed": options.seed,
                "blocks": options.blocks,
                "turns": options.turns,
                "slice_seconds": options.seconds,
                "load": options.loads,
                "tls": options.tls,
                "goal_ms": options.goal_ms,
                "thorough": options.thorough,
                "public_encoding": "binary tensors",
            },
            message_bytes=prepared.message_bytes,
            busy_ns=prepared.busy_ns,
            capacity=prepared.capacity,
            services="foreign" if options.foreign else "ours",
            networks=[asdict(found) for found in self._networks.calibrations.values()],
            notes=[*options.notes, *self._networks.notes],
        )

    def _block(
        self,
        block: Block,
        network: str,
        slices: list[Slice],
        prepared: Prepared,
        metadata: pb.ModelMetadataResponse,
    ) -> None:
        """The part of a block that goes over one network, on services of its own."""
        cells = sorted({item.cell for item in slices})
        view = self._view(block.seed, network)
        try:
            with Generator(view.driver) as generator:
                for c in cells:
                    size = prepared.cells[c].payload_bytes
                    requests = preparation.requests_of(self.options, metadata, size, block.seed)
                    view.load(c, requests, prepared.busy_ns[c])
                first = self._first_requests(view, generator, slices)
                self._warm(view, generator, prepared, cells)
                for item in slices:
                    self._slice(view, generator, prepared, item)
                self._stages(view, generator, prepared, block, cells)
                if self.options.goal_ms is not None:
                    self._capacities(view, generator, prepared, block, cells)
            self.writer.add_block(
                {
                    "block": block.index,
                    "network": network,
                    "cold_start_s": view.cold_start_s(),
                    "first_ms": first,
                    "peak_memory_bytes": view.peak_memory(),
                }
            )
        finally:
            view.stop()

    def _first_requests(self, view: View, generator: Generator, slices: list[Slice]) -> dict[str, float]:
        """Milliseconds of each arm's very first request on these services, in the block's own order of arms."""
        found: dict[str, float] = {}
        c = min(item.cell for item in slices)
        for name in dict.fromkeys(item.arm for item in slices):
            if self._arms[name].role == "arm":
                record = generator.run(view.work(c, self._arms[name], schedule.closed(1, view.variants(c), 0), 1))
                found[name] = float(record.requests[0, DONE] - record.requests[0, SENT]) / 1e6
        return found

    def _warm(self, view: View, generator: Generator, prepared: Prepared, cells: list[int]) -> None:
        """Every arm and cell is used before anything is timed: connections, lazy imports, caches, clocks."""
        for c in cells:
            callers = _WARM_CALLERS if prepared.cells[c].network == LOOPBACK else _WARM_CALLERS_FAR
            for arm in self._arms.values():
                rate = prepared.capacity[c].get(arm.name) or min(prepared.capacity[c].values())
                count = max(schedule.FEWEST, min(_MOST_WARM, round(_WARM_SECONDS * rate)))
                generator.run(view.work(c, arm, schedule.closed(count, view.variants(c), 0), callers))

    def _slice(self, view: View, generator: Generator, prepared: Prepared, item: Slice) -> None:
        arm, cell = self._arms[item.arm], prepared.cells[item.cell]
        over = "" if cell.network == LOOPBACK else f"{cell.network}  "
        self.progress.step(f"block {item.block + 1}/{self.options.blocks}  {over}{cell.payload_bytes} B  {arm.name}")
        line, table = self._driven(view, generator, prepared, item, arm)
        if (line.steal > NOISY_STEAL or line.others > NOISY_OTHERS) and self._reruns_left:
            self._reruns_left -= 1
            line.kept = False
            self.writer.add(line, table)
            line, table = self._driven(view, generator, prepared, item, arm)
        self.writer.add(line, table)
        self.measured += 1
        if dead := view.dead():
            raise FleetError(f"the {dead} ended by itself while it was measured; see services.log")

    def _driven(
        self, view: View, generator: Generator, prepared: Prepared, item: Slice, arm: Arm
    ) -> tuple[SliceLine, Table]:
        cell = prepared.cells[item.cell]
        work = view.work(item.cell, arm, self._schedule(view, prepared, item), cell.concurrency)
        time.sleep(_SETTLE_SECONDS)
        machine, services, carried, packets = cpu.machine(), view.cpu_ns(), view.hop_bytes(), view.packets()
        own = cpu.process_cpu_ns(os.getpid())
        began = time.monotonic_ns()
        record = generator.run(work)
        time.sleep(_SETTLE_SECONDS / 4)
        after, ended = view.cpu_ns(), time.monotonic_ns()
        spent = {name: after[name] - services[name] for name in services if name in after}
        seen = cpu.machine().since(machine)
        ours = sum(spent.values()) + record.cpu_ns + cpu.process_cpu_ns(os.getpid()) - own
        carried_after = view.hop_bytes()
        line = SliceLine(
            block=item.block,
            cell=item.cell,
            arm=item.arm,
            turn=item.turn,
            seed=item.seed,
            cpu_ns=view.charge(spent, record),
            wall_ns=record.wall_ns,
            wire_bytes=_carried(arm, cell.network, carried, carried_after),
            steal=seen.steal_ns / max(1, seen.total_ns),
            others=max(0.0, (seen.busy_ns - ours) / max(1, seen.total_ns)),
            pressure=seen.pressure_ns / max(1, ended - began),
            complaint=record.complaint,
        )
        now = view.packets()
        if now and packets:
            went = now.since(packets)
            line.wire_late_us = [went.late_percentile_us(0.5), went.late_percentile_us(0.99)]
            line.packets_lost = went.lost + went.overflowed
        return line, record.requests

    def _schedule(self, view: View, prepared: Prepared, item: Slice) -> schedule.Schedule:
        cell, variants = prepared.cells[item.cell], view.variants(item.cell)
        if cell.rate is None:
            slowest = min(prepared.capacity[item.cell].values())
            return schedule.closed(schedule.count_for(slowest, self.options.seconds), variants, item.seed)
        return schedule.poisson(cell.rate, schedule.count_for(cell.rate, self.options.seconds), variants, item.seed)

    def _stages(self, view: View, generator: Generator, prepared: Prepared, block: Block, cells: list[int]) -> None:
        """Where the time goes, in slices of their own: every station stamps, and none of these requests is timed."""
        for c in cells:
            cell = prepared.cells[c]
            for arm in self._arms.values():
                if arm.role != "arm":
                    continue
                rate = cell.rate or min(prepared.capacity[c].values())
                count = min(_MOST_STAGED, schedule.count_for(rate, _STAGE_SECONDS))
                drawn = schedule.poisson(rate, count, view.variants(c), block.seed)
                record = generator.run(view.work(c, arm, drawn, cell.concurrency, stages=True))
                self.writer.add_stages(arm.name, c, block.index, record.stages)

    def _capacities(self, view: View, generator: Generator, prepared: Prepared, block: Block, cells: list[int]) -> None:
        """Search every arm's capacity, the arms in turn step by step, so that drift falls on all alike."""
        arms = self._searching_arms()
        for c in _first_of_each_place(prepared, cells):
            random = np.random.default_rng([block.seed, c])
            order = [arms[i] for i in random.permutation(len(arms))]
            searches = {arm.name: Search(_START * _probed(prepared, c, arm)) for arm in order}
            tried: dict[str, list[list[float | None]]] = {arm.name: [] for arm in order}
            for step in range(capacity.STEPS):
                for arm in order:
                    at = f"{prepared.cells[c].payload_bytes} B  capacity at {self.options.goal_ms:g} ms"
                    self.progress.step(f"block {block.index + 1}/{self.options.blocks}  {at}  {arm.name}")
                    found = self._tried(view, generator, prepared, c, arm, searches[arm.name].rate, block.seed + step)
                    searches[arm.name].tell(found[1] >= capacity.SHARE)
                    tried[arm.name].append([*found])
            for arm in order:
                self.writer.add_capacity(
                    {
                        "block": block.index, "cell": c, "arm": arm.name, "goal_ms": self.options.goal_ms,
                        "tried": tried[arm.name], "bracket": searches[arm.name].bracket,
                    }
                )  # fmt: skip

    def _searching_arms(self) -> list[Arm]:
        return [arm for arm in self._arms.values() if arm.role != "control"]

    def _searched(self, prepared: Prepared) -> int:
        """Steps of all searches of a block."""
        if self.options.goal_ms is None:
            return 0
        places = _first_of_each_place(prepared, list(range(len(prepared.cells))))
        return len(places) * len(self._searching_arms()) * capacity.STEPS

    def _tried(
        self, view: View, generator: Generator, prepared: Prepared, c: int, arm: Arm, rate: float, seed: int
    ) -> tuple[float, float, float | None, float]:
        """Rate, share of requests in time, their 95th percentile in ms, and how busy the generator was."""
        goal = self.options.goal_ms or 0.0
        count = schedule.count_for(rate, self.options.seconds, capacity.FEWEST)
        drawn = schedule.poisson(rate, count, view.variants(c), seed)
        record = generator.run(view.work(c, arm, drawn, prepared.cells[c].concurrency))
        time.sleep(_SETTLE_SECONDS)
        found = record.requests
        return rate, capacity.share_in_time(found, goal), capacity.percentile_ms(found), record.cpu_ns / record.wall_ns


def _first_of_each_place(prepared: Prepared, cells: list[int]) -> list[int]:
    """One cell for each payload, network and number of connections: a search chooses its rates itself."""
    found: dict[tuple[int, str, int], int] = {}
    for c in cells:
        cell = prepared.cells[c]
        found.setdefault((cell.payload_bytes, cell.network, cell.concurrency), c)
    return list(found.values())


def _probed(prepared: Prepared, c: int, arm: Arm) -> float:
    """What the arm, or the one that it repeats, reached in the probe."""
    return (
        prepared.capacity[c].get(arm.name)
        or prepared.capacity[c].get(arm.upstream)
        or min(prepared.capacity[c].values())
    )


def _by_network(block: Block, prepared: Prepared) -> dict[str, list[Slice]]:
    """The block's slices in their order, for each network by itself."""
    found: dict[str, list[Slice]] = {}
    for item in block.slices:
        found.setdefault(prepared.cells[item.cell].network, []).append(item)
    return found


def _carried(arm: Arm, network: str, before: int | None, after: int | None) -> int | None:
    """Bytes over the hop; None where they cannot be counted."""
    uncounted = arm.upstream in UNCOUNTED if network == LOOPBACK else arm.kind == "process"
    if before is None or after is None or uncounted:
        return None
    return after - before


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
