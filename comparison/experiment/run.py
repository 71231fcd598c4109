"""`python -m comparison run`: prepare, measure block by block, keep everything, say what it shows."""

from __future__ import annotations

import math
import signal
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from crossover.comparison.analysis import capacity
from crossover.comparison.experiment import alone, preparation, searching, slices
from crossover.comparison.experiment.design import plan
from crossover.comparison.experiment.part import Part, first_requests, staged, warm
from crossover.comparison.experiment.preparation import Prepared
from crossover.comparison.experiment.samples import Experiment, Writer
from crossover.comparison.lab import wires as lab_wires
from crossover.comparison.load.generator import Generator, GeneratorError
from crossover.comparison.network.networks import Networks
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.options import UsageError
from crossover.comparison.services import ask
from crossover.comparison.services.fleet import FleetError
from crossover.comparison.services.views import ORACLE, Foreign, ours
from crossover.protocol.wires import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from crossover.comparison.experiment.design import Block, Slice
    from crossover.comparison.options import Options
    from crossover.comparison.services.views import View
    from crossover.protos import inference as pb

_MOST_RERUNS = 0.10
"""Share of all slices that may be run again; after that noisy ones are kept."""


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
        options = self.options
        blocks = plan(options.blocks, prepared.cells, list(self._arms), options.turns, options.seconds, options.seed)
        count = sum(len(block.slices) for block in blocks)
        self._reruns_left = math.ceil(_MOST_RERUNS * count)
        self.writer.experiment(self._experiment(prepared))
        self.progress.total(count + self._searched(prepared) * len(blocks))
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
                **asdict(options.wish),
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
        part_slices: list[Slice],
        prepared: Prepared,
        metadata: pb.ModelMetadataResponse,
    ) -> None:
        """The part of a block that goes over one network, on services of its own."""
        view = self._view(block.seed, network)
        try:
            with Generator(view.driver) as generator:
                part = Part(block, network, part_slices, self._arms, prepared, view, generator)
                for c in part.cells:
                    size = prepared.cells[c].payload_bytes
                    requests = preparation.requests_of(self.options, metadata, size, block.seed)
                    view.load(c, requests, prepared.busy_ns[c])
                self._measure_part(part)
        finally:
            view.stop()

    def _measure_part(self, part: Part) -> None:
        first = first_requests(part)
        warm(part)
        for item in part.slices:
            self._slice(part, item)
        for line, table in alone.measured(part):
            self.writer.add(line, table)
        for arm, c, stamps in staged(part):
            self.writer.add_stages(arm, c, part.block.index, stamps)
        if self.options.goal_ms is not None:
            for found in searching.searched(part, self.options.goal_ms, self.options.seconds, self._stepped(part)):
                self.writer.add_capacity(found)
        self.writer.add_block(
            {
                "block": part.block.index,
                "network": part.network,
                "cold_start_s": part.view.cold_start_s(),
                "first_ms": first,
                "peak_memory_bytes": part.view.peak_memory(),
            }
        )

    def _slice(self, part: Part, item: Slice) -> None:
        """One slice, and once more when it was noisy and reruns are left; both are kept and only the last is used."""
        self._stepped(part)(f"{part.prepared.cells[item.cell].payload_bytes} B  {item.arm}")
        line, table = slices.measured(part, item, self.options.seconds)
        if slices.is_noisy(line) and self._reruns_left:
            self._reruns_left -= 1
            line.kept = False
            self.writer.add(line, table)
            line, table = slices.measured(part, item, self.options.seconds)
        self.writer.add(line, table)
        self.measured += 1
        if dead := part.view.dead():
            raise FleetError(f"the {dead} ended by itself while it was measured; see services.log")

    def _stepped(self, part: Part) -> Callable[[str], None]:
        """Tells a step with the block and network that it belongs to."""
        over = "" if part.network == LOOPBACK else f"{part.network}  "
        return lambda text: self.progress.step(f"block {part.block.index + 1}/{self.options.blocks}  {over}{text}")

    def _searched(self, prepared: Prepared) -> int:
        """Steps of all searches of a block."""
        if self.options.goal_ms is None:
            return 0
        places = searching.places(prepared.cells, range(len(prepared.cells)))
        return len(places) * len(searching.arms_of(self._arms.values())) * capacity.STEPS


def _by_network(block: Block, prepared: Prepared) -> dict[str, list[Slice]]:
    """The block's slices in their order, for each network by itself."""
    found: dict[str, list[Slice]] = {}
    for item in block.slices:
        found.setdefault(prepared.cells[item.cell].network, []).append(item)
    return found


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
