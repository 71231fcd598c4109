"""`python -m comparison run`: prepare, measure block by block, keep everything, say what it shows."""

from __future__ import annotations

import math
import signal
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from crossover.comparison.analysis import capacity, failif
from crossover.comparison.design import samples
from crossover.comparison.design.cells import plan
from crossover.comparison.design.samples import Experiment, Writer
from crossover.comparison.design.schedule import FEWEST
from crossover.comparison.experiment import alone, beforehand, searching, slices
from crossover.comparison.experiment.part import Part, check_answers, first_requests, staged, warm
from crossover.comparison.experiment.preparation import Prepared
from crossover.comparison.lab import wires as lab_wires
from crossover.comparison.load.generator import GeneratorError, generators
from crossover.comparison.network.networks import Networks
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.options import UsageError
from crossover.comparison.report import words
from crossover.comparison.services import ask
from crossover.comparison.services.fleet import FleetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    import numpy as np
    from numpy.typing import NDArray

    from crossover.comparison.course import Course
    from crossover.comparison.design.cells import Block, Slice
    from crossover.comparison.design.samples import SliceLine
    from crossover.comparison.experiment.subject import Subject
    from crossover.comparison.services.views import View

_PAUSES_S, _BLOCK_S = 0.06, 6.0
"""Beside a slice's own length; and beside its slices what a block takes: starts, warming up, single calls."""
_MOST_RERUNS = 0.10
"""Share of all slices that may be run again; after that noisy ones are kept."""


class Progress(Protocol):
    """Told how far the run is."""

    def tell(self, text: str) -> None: ...

    def say(self, text: str) -> None:
        """What stays to be read while the run goes on."""
        ...

    def total(self, slices: int) -> None: ...

    def step(self, text: str) -> None: ...


class Run:
    """One run of the experiment, from the first probe to the last slice."""

    def __init__(self, options: Course, subject: Subject[Any], command: str, progress: Progress) -> None:
        self.options, self.subject, self.command, self.progress = options, subject, command, progress
        self.writer = Writer(options.out)
        self.stopped = ""
        """Why the run ended before its plan; empty when it did not."""
        self.wrong = False
        """Whether it was a wrong reply that ended it: then no number of the run may be used."""
        self.measured = 0
        self._reruns_left = 0
        self._created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._notes: list[str] = []
        self._expected: list[dict[str, Any]] = []
        """What was expected of a run that goes on."""
        self.last = options.blocks
        """Blocks of the whole run, with those of its earlier parts."""
        self._arms = {arm.name: arm for arm in options.arms}

    def measure(self) -> None:
        """Measure everything; Ctrl-C, SIGTERM, SIGHUP and dying services end it early, and `stopped` says why.

        Raises what forbids measuring at all: UsageError, FleetError, AskError.
        """
        lab_wires.register()
        previous = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            self._measure()
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        except (FleetError, GeneratorError, ask.AskError, OSError) as error:
            if not self.measured:
                raise
            self.stopped, self.wrong = _said(error), isinstance(error, ask.WrongReplyError)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _measure(self) -> None:
        with Networks(self.options.networks, self.options.seed, self.progress.tell) as self._networks:
            if not self._networks.usable:
                raise UsageError("; ".join(self._networks.notes))
            self._measure_over_networks()

    def _measure_over_networks(self) -> None:
        self.progress.tell("starting the services")
        options = self.options
        prepared, first = self._resume() if options.goes_on else (self._prepare(), 0)
        blocks = plan(
            options.blocks, prepared.cells, list(self._arms), options.turns, options.seconds, options.seed, first
        )
        count = sum(len(block.slices) for block in blocks)
        self._reruns_left = math.ceil(_MOST_RERUNS * count)
        self.last = first + options.blocks
        experiment = self._experiment(prepared)
        experiment.expected = self._expected or beforehand.expected(experiment, prepared, blocks, options.seconds)
        failif.check_selects(options.fail_if, beforehand.planned(experiment))
        self.writer.experiment(experiment)
        for text in (*self.options.notes, *words.expected(experiment.expected)):
            self.progress.say(text)
        steps = self._searched(prepared) * len(blocks)
        self.progress.tell(f"measuring {options.blocks} blocks: {self._estimate(prepared, count, len(blocks))}")
        self.progress.total(count + steps)
        for block in blocks:
            for network, part in _by_network(block, prepared).items():
                self._block(block, network, part, prepared)

    def _estimate(self, prepared: Prepared, slices_: int, blocks: int) -> str:
        """How long the measuring takes, from the plan: slices with their pauses, and what every block does beside."""
        longest = [self.options.seconds] + [FEWEST / cell.rate for cell in prepared.cells if cell.rate]
        mean = max(self.options.seconds, sum(longest) / len(longest) if self.options.rates else self.options.seconds)
        minutes = (slices_ * (mean + _PAUSES_S) + blocks * len(self._networks.usable) * _BLOCK_S) / 60
        return f"about {max(1, round(minutes))} minute{'s' * (round(minutes) > 1)} on a quiet machine"

    def _resume(self) -> tuple[Prepared, int]:
        """What the run in the folder prepared, and the index of its next block."""
        found = samples.read(self.options.out)
        experiment = found.experiment
        self._created, self.command, self._notes = experiment.created, experiment.command, experiment.notes
        self._expected = experiment.expected
        prepared = Prepared(experiment.cells, experiment.message_bytes, experiment.capacity, experiment.busy_ns)
        view = self._view(self.options.seed, self._networks.usable[0])
        try:
            self.subject.resume(view, prepared)
        finally:
            view.stop()
        return prepared, 1 + max((line.block for line, _ in found.slices), default=-1)

    def _view(self, seed: int, network: str) -> View:
        return self.subject.view(seed, self._networks.use(network, seed))

    def _prepare(self) -> Prepared:
        prepared = Prepared([], [], [], [])
        for network in self._networks.usable:
            view = self._view(self.options.seed, network)
            try:
                with generators(view.driver, self.options.generators) as generator:
                    prepared.add(self.subject.prepare(view, generator, network, self.progress.tell))
            finally:
                view.stop()
        return prepared

    def _experiment(self, prepared: Prepared) -> Experiment:
        options = self.options
        return Experiment(
            created=self._created,
            command=self.command,
            model=self.subject.model,
            cells=prepared.cells,
            arms=list(self._arms),
            options={
                "seed": options.seed,
                "blocks": self.last,
                "turns": options.turns,
                "slice_seconds": options.seconds,
                "load": options.loads,
                "tls": options.tls,
                "goal_ms": options.goal_ms,
                "thorough": options.thorough,
                "generators": options.generators,
                **self.subject.facts(),
            },
            pairs=self.subject.pairs(),
            message_bytes=prepared.message_bytes,
            busy_ns=prepared.busy_ns,
            capacity=prepared.capacity,
            services=self.subject.services,
            networks=[asdict(found) for found in self._networks.calibrations.values()],
            notes=list(dict.fromkeys([*self._notes, *options.notes, *self._networks.notes])),
        )

    def _block(
        self,
        block: Block,
        network: str,
        part_slices: list[Slice],
        prepared: Prepared,
    ) -> None:
        """The part of a block that goes over one network, on services of its own."""
        view = self._view(block.seed, network)
        try:
            with generators(view.driver, self.options.generators) as generator:
                part = Part(block, network, part_slices, self._arms, prepared, view, generator)
                for c in part.cells:
                    self.subject.load(view, c, prepared, block.seed)
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
            check_answers(line.arm, table, line.complaint)
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
            self._add(part, line, table)
            line, table = slices.measured(part, item, self.options.seconds)
        self._add(part, line, table)

    def _add(self, part: Part, line: SliceLine, table: NDArray[np.int64]) -> None:
        """Keep a slice; FleetError and LostError when the run cannot go on after it, however noisy it was."""
        self.writer.add(line, table)
        self.measured += line.kept
        if dead := part.view.dead():
            raise FleetError(f"{dead} ended by itself while it was measured")
        check_answers(line.arm, table, line.complaint)

    def _stepped(self, part: Part) -> Callable[[str], None]:
        """Tells a step with the block and network that it belongs to."""
        over = "" if part.network == LOOPBACK else f"{part.network}  "
        return lambda text: self.progress.step(f"block {part.block.index + 1}/{self.last}  {over}{text}")

    def _searched(self, prepared: Prepared) -> int:
        """Steps of all searches of a block."""
        if self.options.goal_ms is None:
            return 0
        places = searching.places(prepared.cells, range(len(prepared.cells)))
        return len(places) * len(searching.arms_of(self._arms.values())) * capacity.STEPS


def _said(error: Exception) -> str:
    """What ended the run: of an error of the system its own words, and the file that it is about."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": '{error.filename}'" if error.filename else "")
    return str(error)


def _by_network(block: Block, prepared: Prepared) -> dict[str, list[Slice]]:
    """The block's slices in their order, for each network by itself."""
    found: dict[str, list[Slice]] = {}
    for item in block.slices:
        found.setdefault(prepared.cells[item.cell].network, []).append(item)
    return found


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
