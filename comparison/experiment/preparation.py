"""What is found out before the first block: sizes, capacities, rates, the length of the known delay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.analysis.measures import latencies_ms
from crossover.comparison.design import outcomes as out
from crossover.comparison.design import payloads, schedule
from crossover.comparison.design.arms import headline_pairs
from crossover.comparison.design.cells import Cell
from crossover.comparison.experiment.paces import Pace, paces
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.options import UsageError
from crossover.comparison.services import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from crossover.comparison.course import Course
    from crossover.comparison.design.arms import Arm
    from crossover.comparison.load.generator import Runner
    from crossover.comparison.options import Options
    from crossover.comparison.services.views import OipView, View
    from crossover.protocol.messages import InferRequest
    from crossover.protos import inference as pb

_PROBE_SECONDS = 0.4
_PROBE_CALLERS = 4
_FEWEST_PROBES, _MOST_PROBES = 4, 400
_LONGEST_SLICE_S, _MOST_LOAD = 3.0, 0.6
"""A slice of the fewest requests may last so long; to keep to it the load goes up to this share and no further."""
_SLOW_NS = 1_000_000_000
_VARYING_SECONDS, _MOST_VARYING = 3.0, 60
"""How long the requests last that say how latencies vary over a network, and the most of them."""
_BUSY_SHARE, _SHORTEST_BUSY_NS = 0.25, 200_000


@dataclass(slots=True)
class Prepared:
    """The cells as they will be run, and what was found out about each."""

    cells: list[Cell]
    message_bytes: list[dict[str, int]]
    capacity: list[dict[str, float]]
    busy_ns: list[int]
    latencies_ms: list[dict[str, NDArray[np.float64]]] = field(default_factory=list)
    """For each cell, by arm, those of a few requests, which say beforehand how much latencies vary."""

    def add(self, other: Prepared) -> None:
        self.cells += other.cells
        self.message_bytes += other.message_bytes
        self.capacity += other.capacity
        self.busy_ns += other.busy_ns
        self.latencies_ms += other.latencies_ms


def requests_of(options: Options, metadata: pb.ModelMetadataResponse, size: int, seed: int) -> list[InferRequest]:
    """The payload variants of a cell; UsageError when the model has none of that size."""
    try:
        if options.request is not None:
            return payloads.from_file(options.request, options.model)
        return payloads.requests(metadata, size, seed, options.wish)
    except payloads.PayloadError as error:
        raise UsageError(str(error)) from None


def sizes(options: Options, metadata: pb.ModelMetadataResponse) -> list[int]:
    """Tensor bytes of each cell's requests."""
    if options.request is not None:
        return [payloads.size_of(requests_of(options, metadata, 0, 0)[0])]
    if options.natural_payload:
        return [payloads.natural_size(metadata)]
    return sorted(set(options.payloads))


def prepare(
    options: Options,
    view: OipView,
    generator: Runner,
    metadata: pb.ModelMetadataResponse,
    network: str,
    tell: Callable[[str], None],
) -> Prepared:
    """Probe every payload with every arm over a network, on a first start whose timings are then thrown away."""
    prepared = Prepared([], [], [], [])
    for size in sizes(options, metadata):
        tell(f"probing {size} B over {network}")
        requests = requests_of(options, metadata, size, options.seed)
        view.load(0, requests, 0)
        wires = {arm.upstream for arm in options.arms if arm.kind != "process"}
        encoded = {wire: ask.message_bytes(wire, view.target, requests[0]) for wire in sorted(wires)}
        sent = {arm.name: encoded[arm.upstream] for arm in options.arms if arm.upstream in encoded}
        pairs = [pair.key for pair in headline_pairs(arm.name for arm in options.arms)]
        prepared.add(probed(options, view, generator, network, size, sent, pairs))
    return prepared


def probed(
    options: Course,
    view: View,
    generator: Runner,
    network: str,
    size: int,
    message_bytes: dict[str, int],
    pairs: Sequence[tuple[str, str]],
    case: str = "",
) -> Prepared:
    """The cells of what the view has loaded as its cell 0, at the rates that every arm can take."""
    probes = {arm.name: _probe(view, generator, arm) for arm in options.arms if arm.role == "arm"}
    arms = {arm.name: arm for arm in options.arms}
    prepared = Prepared([], [], [], [])
    for cell in _cells(options, size, {name: probe.rate for name, probe in probes.items()}, network, case):
        names = next((pair for pair in pairs if cell.compares(pair)), ())
        prepared.latencies_ms.append(
            {name: _varying(options, view, generator, cell, arms[name], probes[name]) for name in names}
        )
        prepared.cells.append(cell)
        prepared.message_bytes.append(message_bytes)
        prepared.capacity.append({name: _rounded(probe.rate) for name, probe in probes.items()})
        prepared.busy_ns.append(0 if cell.slow else _busy_ns(options, probes))
    return prepared


def _cells(options: Course, size: int, reached: dict[str, float], network: str, case: str) -> list[Cell]:
    """The cells of one payload over one network; `reached` is what each arm reached in the probe, requests per second."""
    arms = [arm.name for arm in options.arms]
    if options.closed:
        rates: list[tuple[Pace, float | None, float | None]] = [(Pace(()), None, None)]
    elif options.rates:
        rates = [(Pace(()), rate, None) for rate in options.rates]
    else:
        rates = [
            (pace, *_loaded(pace.slowest(reached), load)) for load in options.loads for pace in paces(arms, reached)
        ]
    return [
        Cell(
            size,
            concurrency,
            rate,
            network,
            options.view,
            load,
            pace.arms if pace.arms != tuple(arms) else (),
            pace.slow,
            case,
        )
        for concurrency in options.concurrency
        for pace, rate, load in rates
    ]


def _loaded(slowest: float, load: float) -> tuple[float, float]:
    """Rate and share of the slowest arm's capacity: more than asked for where a slice would last too long."""
    enough = min(schedule.FEWEST / _LONGEST_SLICE_S, _MOST_LOAD * slowest)
    rate = max(slowest * load, enough)
    return _rounded(rate), load if rate == slowest * load else round(rate / slowest, 2)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a few callers of an arm saw in the closed loop."""

    rate: float
    """Requests per second."""
    alone_ns: float
    """Median latency of one caller alone."""
    latencies_ms: NDArray[np.float64]


def _varying(options: Course, view: View, generator: Runner, cell: Cell, arm: Arm, probe: Probe) -> NDArray[np.float64]:
    """Latencies as the cell will have them: over a network from some requests at its own rate, since connections that were idle
    begin slowly there; else those of the probe.
    """
    if cell.network == LOOPBACK or cell.rate is None:
        return probe.latencies_ms
    count = int(np.clip(_VARYING_SECONDS * cell.rate, schedule.FEWEST, _MOST_VARYING))
    drawn = schedule.poisson(cell.rate, count, view.variants(0), options.seed)
    return latencies_ms(generator.run(view.work(0, arm, drawn, cell.concurrency)).requests)


def _probe(view: View, generator: Runner, arm: Arm) -> Probe:
    first = _median_ns(_closed(view, generator, arm, 1, 1))
    few = _FEWEST_PROBES if first < _SLOW_NS else 1
    _closed(view, generator, arm, few, 1)
    count = _count_for(_median_ns(_closed(view, generator, arm, few, 1)))
    alone = _median_ns(_closed(view, generator, arm, count, 1))
    table = _closed(view, generator, arm, _count_for(alone), _PROBE_CALLERS)
    seconds = float(table[:, out.DONE].max() - table[:, out.SENT].min()) / 1e9
    return Probe(len(table) / seconds, alone, latencies_ms(table))


def _count_for(median_ns: float) -> int:
    return int(np.clip(_PROBE_SECONDS * 1e9 / median_ns, _FEWEST_PROBES, _MOST_PROBES))


def _median_ns(table: out.Table) -> float:
    return float(np.median(table[:, out.DONE] - table[:, out.SENT]))


def _closed(view: View, generator: Runner, arm: Arm, count: int, callers: int) -> out.Table:
    record = generator.run(view.work(0, arm, schedule.closed(count, view.variants(0), 0), callers))
    if (record.requests[:, out.OUTCOME] != out.OK).any():
        raise ask.LostError(f"arm '{arm.name}' does not work: {record.complaint or 'requests were not answered'}")
    return record.requests


def _busy_ns(options: Course, probes: dict[str, Probe]) -> int:
    """A quarter of the reference's own time, so that it can be seen at every payload; a whole number of µs."""
    reference = probes.get("grpc")
    if reference is None or not any(arm.role == "control" for arm in options.arms):
        return 0
    return max(_SHORTEST_BUSY_NS, round(_BUSY_SHARE * reference.alone_ns / 1000) * 1000)


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
