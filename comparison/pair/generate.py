"""`python -m comparison generate`: one machine's part of the load on a pair; `report` joins the parts.

Every machine is given the same pair, the same `--rate`, `--connections`, `--blocks`, `--seed`, and the same `--at`; from these each
works out the same slices with the same planned times, and part I of N sends every N-th request of each. Any runner can start
it: ssh, a CI matrix, a job queue. The clocks must agree to within some milliseconds (NTP), since all start by the time of day;
latencies are each machine's own and no clock of another enters them.

Nothing is probed: the rate is given. There is no known delay, whose length would have to be probed; the A/A pairs are there.
"""

from __future__ import annotations

import functools
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crossover.comparison import commands
from crossover.comparison.design import schedule
from crossover.comparison.design.arms import AGAIN, CONTROL, REST_AGAIN
from crossover.comparison.design.cells import Cell, plan
from crossover.comparison.design.samples import Experiment, SliceLine, Writer
from crossover.comparison.experiment.part import check_answers
from crossover.comparison.experiment.slices import spent
from crossover.comparison.load.generator import Generator, shares
from crossover.comparison.machine import provenance
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.options import UsageError
from crossover.comparison.pair import options
from crossover.comparison.pair.exchange import GRPC, REST
from crossover.comparison.pair.subject import PairSubject, PairView
from crossover.comparison.services.ask import LostError

if TYPE_CHECKING:
    import argparse

    from crossover.comparison.course import Course
    from crossover.comparison.design.cells import Slice
    from crossover.comparison.pair.cases import Variants

_GAP_S = 0.25
"""Between the last planned time of a slice and the start of the next: for answers, readings and unequal clocks."""
_WARM = 10
_DEFAULT_ARMS = (GRPC, REST, AGAIN, REST_AGAIN)
_NOT_HERE = ("start_grpc", "start_rest", "goal", "closed", "load", "goes_on", "dry_run", "fail_if", "markdown", "junit")


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of how many, and when all begin, in seconds of Unix time."""

    part: int
    """From 0 on."""
    count: int
    at: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pair`, and which part this is."""
    options.add_arguments(parser)
    parser.add_argument("--part", default="1/1", metavar="I/N", help="this machine is the I-th of N (default: 1/1)")
    parser.add_argument(
        "--at",
        metavar="TIME",
        help="when all machines begin: 2026-11-27T12:00:00Z, or Unix time (default, for 1/1: soon)",
    )
    parser.set_defaults(command=functools.partial(run, parser))


def run(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    """Send this machine's part of the load and keep its samples."""
    out = commands.folder_of(given)

    def work() -> int:
        asked = options.asked(given, given.arguments[1:], parser)
        asked.given.arms = asked.given.arms or list(_DEFAULT_ARMS)
        share = share_of(asked.given)
        pair = options.pair_of(asked)
        course = options.course_of(asked, pair, out)
        if course.concurrency and min(course.concurrency) < share.count:
            raise UsageError(
                f"--part 1/{share.count} takes --connections {share.count} or more, for all machines together"
            )
        part = Part(PairSubject(pair, course), course, share, given.arguments)
        part.measure()
        others = "" if share.count == 1 else f" and the other {share.count - 1}"
        print(
            f"Part {share.part + 1} of {share.count} is in {out}. python -m comparison report {out}{others} --out DIR joins them."
        )
        return commands.OK

    return commands.refusing(work, out)


def share_of(given: argparse.Namespace) -> Share:
    """What `--part` and `--at` say; UsageError for what goes not with them."""
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", given.part)
    part, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= count <= 256:
        raise UsageError(f"--part takes I/N, with I from 1 to N and N up to 256; not '{given.part}'")
    if not given.rate:
        raise UsageError("generate needs --rate, the requests per second of all machines together: it probes nothing")
    for name in _NOT_HERE:
        if getattr(given, name):
            raise UsageError(
                f"--{'continue' if name == 'goes_on' else name.replace('_', '-')} does not go with generate"
            )
    if any(network != LOOPBACK for network in given.network or ()):
        raise UsageError("--network does not go with generate: the network is the one between the machines")
    if CONTROL in given.arms:
        raise UsageError(f"--arms: '{CONTROL}' does not go with generate: its delay would have to be probed")
    if given.generators != 1:
        raise UsageError("--generators does not go with generate: give each process a --part of its own")
    if given.at is None:
        if count > 1:
            raise UsageError("--part goes with --at TIME, at which all machines begin")
        return Share(0, 1, 0.0)
    return Share(part - 1, count, _time_of(given.at))


def _time_of(text: str) -> float:
    try:
        return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else _parsed(text).timestamp()
    except ValueError:
        raise UsageError(f"--at takes a time such as 2026-11-27T12:00:00Z, or Unix time; not '{text}'") from None


def _parsed(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class Part:
    """One machine's part of a run."""

    def __init__(self, subject: PairSubject, course: Course, share: Share, arguments: list[str]) -> None:
        self.subject, self.course, self.share = subject, course, share
        self._command = " ".join(["python -m comparison", *arguments])
        self._arms = {arm.name: arm for arm in course.arms}
        self._view = PairView(subject.pair, course, course.seed, None)
        self.cells: list[Cell] = []

    def measure(self) -> None:
        """Ask for every row, wait for the time, send every slice's part at its planned times; UsageError, PairError, LostError."""
        writer = Writer(self.course.out)
        asked = self.subject.asked(self._view, lambda _: None)
        of_cell = self._cells(asked)
        course = self.course
        blocks = plan(course.blocks, self.cells, list(self._arms), course.turns, course.seconds, course.seed, 0)
        writer.experiment(self._experiment(of_cell))
        (course.out / "provenance.json").write_text(
            json.dumps(provenance.provenance(self._command, course.seed), indent=1) + "\n"
        )
        commands.keep_state(course, "it was killed before its end")
        with Generator(self._view.driver) as generator:
            for c, variants in enumerate(of_cell):
                self._view.load(c, variants, 0)
                self._warm(generator, c)
            start_ns = self._start_ns()
            for block in blocks:
                for item in block.slices:
                    drawn = self._drawn(item)
                    writer.add(*self._slice(generator, item, drawn, start_ns))
                    start_ns += int(drawn.offsets_ns[-1]) + round(_GAP_S * 1e9)  # type: ignore[index]  # open loop
        commands.keep_state(course, "")

    def _cells(self, asked: dict[str, Variants]) -> list[Variants]:
        found = []
        for name, variants in asked.items():
            for connections in self.course.concurrency:
                for rate in self.course.rates:
                    self.cells.append(
                        Cell(variants.payload_bytes, connections, rate, LOOPBACK, "pair", None, (), (), name)
                    )
                    found.append(variants)
        return found

    def _experiment(self, of_cell: list[Variants]) -> Experiment:
        course, share = self.course, self.share
        sizes = [variants.message_bytes for variants in of_cell]
        return Experiment(
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            command=self._command,
            model=self.subject.model,
            cells=self.cells,
            arms=list(self._arms),
            options={
                "seed": course.seed, "blocks": course.blocks, "turns": course.turns, "slice_seconds": course.seconds,
                "load": [], "tls": course.tls, "goal_ms": None, "thorough": course.thorough, "generators": share.count,
                "part": [share.part, share.count], **self.subject.facts(),
            },
            pairs=self.subject.pairs(),
            message_bytes=[
                {name: grpc if arm.upstream == GRPC else rest for name, arm in self._arms.items()} for grpc, rest in sizes
            ],
            busy_ns=[0] * len(self.cells),
            capacity=[{} for _ in self.cells],
            services=self.subject.services,
            notes=list(course.notes),
        )  # fmt: skip

    def _warm(self, generator: Generator, c: int) -> None:
        for arm in self._arms.values():
            work = self._view.work(c, arm, schedule.closed(_WARM, self._view.variants(c), 0), 2)
            record = generator.run(work)
            check_answers(arm.name, record.requests, record.complaint)

    def _start_ns(self) -> int:
        """The common start on this machine's monotonic clock."""
        if not self.share.at:
            return time.monotonic_ns() + round(_GAP_S * 1e9)
        left = self.share.at - time.time()
        if left < 0:
            raise UsageError(f"--at was {-left:.1f} s ago when this machine was ready; give a later time")
        return time.monotonic_ns() + round(left * 1e9)

    def _drawn(self, item: Slice) -> schedule.Schedule:
        rate = self.cells[item.cell].rate
        assert rate is not None
        count = schedule.count_for(rate, self.course.seconds, max(schedule.FEWEST, self.share.count))
        return schedule.poisson(rate, count, self._view.variants(item.cell), item.seed)

    def _slice(
        self, generator: Generator, item: Slice, drawn: schedule.Schedule, start_ns: int
    ) -> tuple[SliceLine, Any]:
        arm = self._arms[item.arm]
        whole = self._view.work(item.cell, arm, drawn, self.cells[item.cell].concurrency)
        own = shares(whole, self.share.count, start_ns)[self.share.part]
        before = self._view.cpu_ns()
        record = generator.run(own)
        line = SliceLine(
            block=item.block, cell=item.cell, arm=item.arm, turn=item.turn, seed=item.seed,
            cpu_ns=self._view.charge(arm, spent(before, self._view.cpu_ns()), record), wall_ns=record.wall_ns,
            wire_bytes=None, steal=0.0, others=0.0, pressure=0.0, complaint=record.complaint, opened=record.opened,
            generators=[record.busy],
        )  # fmt: skip
        if dead := self._view.dead():
            raise LostError(f"{dead} ended by itself while it was measured")
        check_answers(line.arm, record.requests, record.complaint)
        return line, record.requests
