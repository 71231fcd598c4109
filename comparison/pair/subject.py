"""The subject of `pair`: two services of somebody else, and the view of them that the lab measures through."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from crossover.comparison.design import outcomes, schedule
from crossover.comparison.design.arms import AGAIN, CODED, CONTROL, GRPC_CLIENT, REST_AGAIN, REST_CLIENT, Arm
from crossover.comparison.design.cells import MIX
from crossover.comparison.experiment.preparation import Prepared, probed
from crossover.comparison.machine import cpu, sockets
from crossover.comparison.network.link import THERE_ADDRESS
from crossover.comparison.pair import cases as case_room
from crossover.comparison.pair import differences, forms, services, sides
from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.exchange import GRPC, REST, Exchange, Rules
from crossover.comparison.pair.forms import FORMS
from crossover.comparison.pair.schema import Method
from crossover.comparison.pair.services import Started
from crossover.comparison.services.ask import LostError, WrongReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.comparison.course import Course
    from crossover.comparison.design.outcomes import Record
    from crossover.comparison.design.schedule import Schedule
    from crossover.comparison.load.generator import Runner
    from crossover.comparison.network.link import Counters, Link
    from crossover.comparison.pair.cases import Case, Variants
    from crossover.comparison.pair.services import Ready
    from crossover.comparison.pair.sides import GrpcSide, RestSide

S = TypeVar("S", "GrpcSide", "RestSide")
ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(GRPC, GRPC, "grpc", summary="the gRPC service, messages made beforehand"),
        Arm(REST, REST, "rest", summary="the HTTP service, requests made beforehand"),
        Arm(AGAIN, GRPC, "grpc", "again", "grpc under a second name (A/A)"),
        Arm(REST_AGAIN, REST, "rest", "again", "rest under a second name (A/A)"),
        Arm(CONTROL, GRPC, "grpc", "control", "grpc with a known busy wait in the client's path"),
        Arm(GRPC_CLIENT, GRPC, "grpc", summary="grpc with its messages encoded and decoded within each call"),
        Arm(REST_CLIENT, REST, "rest", summary="rest with its JSON encoded and decoded within each request"),
        Arm(forms.REST_H2, REST, "rest", summary="the HTTP service over HTTP/2"),
        Arm(forms.REST_NO_KEEPALIVE, REST, "rest", summary="the HTTP service, a connection for each request"),
        Arm(forms.REST_RESUMED, REST, "rest", summary="likewise, each resuming the last one's TLS session"),
        Arm(forms.CONNECT, GRPC, "grpc", summary="the gRPC service by the Connect protocol over HTTP/1.1"),
        Arm(forms.GRPC_WEB, GRPC, "grpc", summary="the gRPC service by gRPC-Web over HTTP/1.1"),
    )
}
DEFAULT_ARMS = tuple(name for name in ARMS if name not in FORMS)
"""What every pair can be asked; the others where a service offers them."""
PAIRS = {
    (GRPC, REST): "the two services",
    (GRPC_CLIENT, REST_CLIENT): "the same, with what encoding and decoding take of a client",
    (GRPC, forms.REST_H2): "both over HTTP/2",
    (GRPC, forms.REST_NO_KEEPALIVE): "gRPC on connections that stay against a connection for each HTTP request",
    (
        GRPC,
        forms.REST_RESUMED,
    ): "gRPC on connections that stay against a resumed TLS connection for each HTTP request",
    (forms.CONNECT, REST): "both over HTTP/1.1: the method by the Connect protocol against the HTTP endpoint",
    (forms.GRPC_WEB, REST): "both over HTTP/1.1: the method by gRPC-Web against the HTTP endpoint",
}
"""What is compared where its two arms run, and the question that it answers."""
SERVICE, CALLER = "service", "caller"


@dataclass(frozen=True, slots=True)
class Processes:
    """How the two services' processes are known."""

    pids: dict[str, int] = field(default_factory=dict)
    """By side."""
    commands: dict[str, str] = field(default_factory=dict)
    """By side, the command that starts it for each block."""
    ready: tuple[Ready, ...] = ()

    @property
    def known(self) -> bool:
        return bool(self.pids or self.commands)


@dataclass(frozen=True, slots=True)
class Pair:
    """What is compared."""

    grpc: GrpcSide
    rest: RestSide
    rules: Rules
    cases: tuple[Case, ...]
    processes: Processes
    mix: bool = False
    """The cases are also asked together, by their weights."""

    @property
    def question(self) -> str:
        schema = self.rules.schema
        if schema.stream:
            return (
                f"the stream of {schema.service}/{schema.method} over gRPC against that of {self.rest.method} {self.rest.target} over "
                "HTTP/1.1"
            )
        return f"the method {schema.service}/{schema.method} over gRPC against {self.rest.method} {self.rest.target} over HTTP/1.1"


def compared(names: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs that are judged where these arms run."""
    return [pair for pair in PAIRS if set(pair) <= set(names)]


class PairView:
    """The two services in one block."""

    driver = "crossover.comparison.pair.exchange:Driver"
    has_stages = False

    def __init__(self, pair: Pair, course: Course, seed: int, link: Link | None) -> None:
        self.pair, self._link, self._seed = pair, link, seed
        self.grpc: GrpcSide = _moved(pair.grpc, link)
        self.rest: RestSide = _moved(pair.rest, link)
        self._loaded: dict[int, Variants] = {}
        self._delay_ns: dict[int, int] = {}
        self._started: dict[str, Started] = {}
        self._pids: dict[str, int] = dict(pair.processes.pids)
        self._cold: float | None = None
        self.sees_services = pair.processes.known or not any(
            map(services.is_local, (self.grpc.address, self.rest.address))
        )
        self._ports = [side.address.port for side in (self.grpc, self.rest) if services.is_local(side.address)]
        if pair.processes.commands:
            self._start(course)

    def _start(self, course: Course) -> None:
        import time

        began = time.monotonic()
        through = self._link.into_other_host if self._link else []
        try:
            for side, command in self.pair.processes.commands.items():
                address = (self.grpc if side == GRPC else self.rest).address
                if services.is_taken(address):
                    raise PairError(
                        f"--start-{side}: somebody listens at {address} already; stop that or leave the flag out"
                    )
                log = course.out / f"{side}-service.log"
                self._started[side] = Started("gRPC" if side == GRPC else "HTTP", command, log, through)
            for side, started in self._started.items():
                started.await_ready(self._ready(side), self.grpc if side == GRPC else self.rest)
                self._pids[side] = started.pid
        except BaseException:
            self.stop()
            raise
        self._cold = time.monotonic() - began

    def _ready(self, side: str) -> Ready:
        """The check that was asked for and that this side can answer; else that its port is open."""
        for ready in self.pair.processes.ready:
            if ready.kind == "tcp" or (ready.kind == "http") == (side == REST):
                return ready
        return services.Ready("tcp")

    def load(self, cell: int, variants: Variants, delay_ns: int) -> None:
        self._loaded[cell], self._delay_ns[cell] = variants, delay_ns

    def variants(self, cell: int) -> int:
        return len(self._loaded[cell])

    def work(self, cell: int, arm: Arm, schedule: Schedule, concurrency: int, *, stages: bool = False) -> Exchange:
        variants = self._loaded[cell]
        grpc = arm.upstream == GRPC
        return Exchange(
            arm.upstream,
            self.grpc,
            self.rest,
            variants.grpc if grpc else variants.rest,
            variants.grpc_texts if grpc else variants.rest_texts,
            variants.expected,
            self.pair.rules,
            schedule,
            concurrency,
            coded=arm.name in CODED,
            delay_ns=self._delay_ns[cell] if arm.role == "control" else 0,
            form=arm.name if arm.name in FORMS else "",
        )

    def not_offered(self, names: Sequence[str], variants: Variants) -> dict[str, str]:
        """Why the services do not offer each of the arms `names`, which are asked for the first row, all at the same time
        since some services answer what they do not know with silence; empty where they do.
        """
        self.load(0, variants, 0)
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            return dict(zip(names, pool.map(self._not_offered, names), strict=True))

    def _not_offered(self, name: str) -> str:
        work = self.work(0, ARMS[name], schedule.closed(1, 1, 0), 1)
        patience = min(forms.MOST_SECONDS, self.grpc.timeout)
        try:
            for _ in range(FORMS[name].asks):
                connection = FORMS[name].connect(self.grpc, self.rest, patience)
                try:
                    talk = work.talk()
                    outcome = talk.outcome(sides.answered(connection, talk.request(0), patience), 0)
                finally:
                    connection.close()
        except OSError as error:
            return sides.reason(error)
        return "" if outcome == outcomes.OK else talk.complaint

    def cpu_ns(self) -> dict[str, int]:
        return {str(pid): cpu.family_cpu_ns(pid) for pid in set(self._pids.values())}

    def charge(self, arm: Arm, spent: dict[str, int], record: Record) -> dict[str, int]:
        found = {"generator": record.cpu_ns}
        if arm.name in CODED:
            found[CALLER] = record.coding_ns
        pid = self._pids.get(arm.upstream)
        return {SERVICE: spent.get(str(pid), 0), **found} if pid else found

    def hop_bytes(self) -> dict[bytes, int] | None:
        if self._link:
            return {b"link": self._link.counters().bytes}
        try:
            return sockets.traffic(self._ports)
        except sockets.NotCountedError:
            return None

    def packets(self) -> Counters | None:
        return self._link.counters() if self._link else None

    def peak_memory(self) -> dict[str, int]:
        return {f"{side} service": cpu.family_peak_memory_bytes(pid) for side, pid in self._pids.items()}

    def cold_start_s(self) -> float | None:
        return self._cold

    def dead(self) -> str | None:
        for started in self._started.values():
            if ended := started.ended():
                return ended
        for side, pid in self.pair.processes.pids.items():
            try:
                cpu.process_cpu_ns(pid)
            except ProcessLookupError:
                return f"the {'gRPC' if side == GRPC else 'HTTP'} service (process {pid})"
        if self._link and self._link.dead():
            return "the wire"
        return None

    def stop(self) -> None:
        for started in self._started.values():
            started.stop()


def _moved(side: S, link: Link | None) -> S:
    """The side as it is reached on the other host."""
    return replace(side, address=replace(side.address, host=THERE_ADDRESS)) if link else side


class PairSubject:
    """A pair as a run's subject."""

    services = "pair"

    def __init__(self, pair: Pair, course: Course) -> None:
        self.pair, self.course = pair, course
        self.model = f"{pair.rules.schema.service}/{pair.rules.schema.method}"
        self.method = Method(pair.rules.schema)
        self.variants_of_cases = [case_room.made(case, self.method, pair.rest) for case in pair.cases]
        self._of_cell: list[Variants] = []
        self.differences: list[str] = []
        """What differs between the two sides besides the protocol, in sentences."""

    def view(self, seed: int, link: Link | None) -> PairView:
        view = PairView(self.pair, self.course, seed, link)
        try:
            if self._of_cell:
                self._check_alive(view)
        except BaseException:
            view.stop()
            raise
        return view

    def _check_alive(self, view: PairView) -> None:
        """Both answer the first row as before, so that no block measures services that are gone."""
        first = self._of_cell[0]
        try:
            with self.asker(view) as asker:
                _, wrong = asker.judged(asker.ask(first.grpc[0], first.rest[0]))
        except PairError as error:
            raise LostError(str(error)) from None
        if wrong:
            raise WrongReplyError(f"the two services do not answer alike any more: {'; '.join(wrong)}")

    def asker(self, view: PairView) -> case_room.Asker:
        return case_room.Asker(view.grpc, view.rest, self.pair.rules, self.method)

    def prepare(self, view: PairView, generator: Runner, network: str, tell: Callable[[str], None]) -> Prepared:
        """Ask for every row of every case, then probe what each arm can take."""
        found = Prepared([], [], [], [])
        for name, variants in self.asked(view, tell).items():
            tell(f"probing {name or self.model} over {network}")
            view.load(0, variants, 0)
            over_grpc, over_rest = variants.message_bytes
            sent = {arm.name: over_grpc if arm.upstream == GRPC else over_rest for arm in self.course.arms}
            pairs = compared([arm.name for arm in self.course.arms])
            cells = probed(self.course, view, generator, network, variants.payload_bytes, sent, pairs, name)
            found.add(cells)
            self._of_cell += [variants] * len(cells.cells)
        return found

    def resume(self, view: PairView, prepared: Prepared) -> None:
        asked = self.asked(view, lambda _: None)
        if missing := {cell.case for cell in prepared.cells} - asked.keys():
            raise PairError(f"the run has a case '{min(missing)}', which its pair has no more")
        self._of_cell = [asked[cell.case] for cell in prepared.cells]

    def asked(self, view: PairView, tell: Callable[[str], None]) -> dict[str, Variants]:
        """The requests of every case by its name, with the answers to them."""
        for case, variants in zip(self.pair.cases, self.variants_of_cases, strict=True):
            tell(f"asking both services for {len(variants)} rows{f' of {case.name}' if case.name else ''}")
            with self.asker(view) as asker:
                seen = case_room.answered(variants, asker, case.name)
                said = differences.seen_in(self.pair, self.method, asker, seen)
                self.differences += [text for text in said if text not in self.differences]
            names = [arm.name for arm in self.course.arms if arm.name in FORMS]
            for name, why in view.not_offered(names, variants).items():
                if why:
                    raise PairError(f"--arms {name}: the services do not offer it: {why}")
        together = {case.name: variants for case, variants in zip(self.pair.cases, self.variants_of_cases, strict=True)}
        if self.pair.mix:
            together[MIX] = case_room.mixed(self.pair.cases, self.variants_of_cases)
        return together

    def load(self, view: PairView, c: int, prepared: Prepared, seed: int) -> None:
        view.load(c, self._of_cell[c], prepared.busy_ns[c])

    def facts(self) -> dict[str, Any]:
        return {
            "delay_in": "client",
            "differences": self.differences,
            "services_seen": self.pair.processes.known,
            "stream": self.pair.rules.schema.stream,
            "connections": self.course.concurrency[0],
        }

    def pairs(self) -> list[list[str]]:
        rest = self.pair.rest
        lead = f"These two services ({self.model} against {rest.method} {rest.target})"
        said = {(GRPC, REST): (self.pair.question, lead)}
        return [
            [*pair, *said.get(pair, (PAIRS[pair], ""))] for pair in compared([arm.name for arm in self.course.arms])
        ]
