"""The raw samples of a run: everything that the report says can be computed again from them alone.

    samples/experiment.json   what was run: cells, arms, message bytes, busy waits, options (written before measuring)
    samples/slices.jsonl      one line a slice: block, cell, arm, seeds, CPU of each process, bytes, noise, complaint
    samples/blocks.jsonl      one line a block: cold start, first request of each arm, peak memory of each service
    samples/stages.jsonl      one line a request of the stage slices: its stamps
    samples/capacity.jsonl    one line a search: block, cell, arm, goal, every rate tried and how it went, the bracket
    samples/0000.npy ...      int64 [requests, 5], of streams [requests, 8], for each slice (columns: see `outcomes`)

A line is written after its file, so that a run that is stopped keeps all slices that were finished.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from crossover.comparison.design.cells import Cell


LOAD, ALONE = "load", "alone"
"""What a slice is for."""


class SamplesError(ValueError):
    """A run's folder that cannot be read, in one sentence."""


@dataclass(slots=True)
class SliceLine:
    """What is known of one slice beside its requests."""

    block: int
    cell: int
    arm: str
    turn: int
    seed: int
    cpu_ns: dict[str, int]
    """CPU time over the slice by process: generator, and the services by name."""
    wall_ns: int
    wire_bytes: int | None
    """TCP bytes over the hop, both ways; None where they could not be counted."""
    steal: float
    """Share of the machine's CPU time that the hypervisor took away."""
    others: float
    """CPU time of processes that are none of ours, as a share of the machine's."""
    pressure: float
    """Share of the slice in which some task waited for a CPU (PSI)."""
    kept: bool = True
    """False for a noisy slice that was run again."""
    complaint: str = ""
    kind: str = LOAD
    """`LOAD`, or `ALONE` for calls one at a time (see alone.py)."""
    file: str = ""
    wire_late_us: list[float] | None = None
    """On an emulated network: how late packets left, median and 99th percentile, µs."""
    packets_lost: int = 0
    """Packets that the network lost or that overflowed its queue."""
    opened: int = 0
    """Connections that the load opened within the slice."""
    generators: list[float] = field(default_factory=list)
    """Where several generators shared the slice, what share of one CPU each used; request i is that of i modulo their number."""
    calls_cpu_ns: list[int] = field(default_factory=list)
    """Of `ALONE` calls, what the services took for each."""


@dataclass(slots=True)
class Experiment:
    """What was run."""

    created: str
    command: str
    model: str
    cells: list[Cell]
    arms: list[str]
    options: dict[str, Any]
    message_bytes: list[dict[str, int]] = field(default_factory=list)
    """For each cell, encoded bytes of request and reply over the hop by arm."""
    busy_ns: list[int] = field(default_factory=list)
    """For each cell, the length of the control's busy wait; 0: no control."""
    capacity: list[dict[str, float]] = field(default_factory=list)
    """For each cell, requests per second that each arm reached in the probe."""
    services: str = "ours"
    networks: list[dict[str, Any]] = field(default_factory=list)
    """The calibration of every emulated network."""
    notes: list[str] = field(default_factory=list)
    """What was skipped, and why."""
    pairs: list[list[str]] = field(default_factory=list)
    """The pairs that are judged, each [gRPC arm, REST arm, question, lead]; empty: those declared for our own arms."""
    expected: list[dict[str, Any]] = field(default_factory=list)
    """What was expected of the cells' requests before the measuring (experiment/beforehand.py)."""


class Writer:
    """Writes a run's samples as they come."""

    def __init__(self, folder: Path) -> None:
        """A run's folder, new or with samples to which more are added; what a kill left torn is cut off first."""
        self._folder = folder / "samples"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count = max((int(path.stem) + 1 for path in self._folder.glob("[0-9]*.npy")), default=0)
        for path in self._folder.glob("*.jsonl"):
            lines, torn = _whole_lines(path)
            if torn:
                path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    def experiment(self, experiment: Experiment) -> None:
        _write_json(self._folder / "experiment.json", asdict(experiment))

    def add(self, line: SliceLine, requests: NDArray[np.int64]) -> None:
        line.file = f"{self._count:04}.npy"
        self._count += 1
        np.save(self._folder / line.file, requests)
        with (self._folder / "slices.jsonl").open("a") as file:
            file.write(json.dumps(asdict(line)) + "\n")

    def add_block(self, facts: dict[str, Any]) -> None:
        """What was seen of a block as a whole."""
        with (self._folder / "blocks.jsonl").open("a") as file:
            file.write(json.dumps(facts) + "\n")

    def add_capacity(self, found: dict[str, Any]) -> None:
        """One arm's search for its capacity in one block and cell."""
        with (self._folder / "capacity.jsonl").open("a") as file:
            file.write(json.dumps(found) + "\n")

    def add_stages(self, arm: str, cell: int, block: int, stamps: list[dict[str, int]]) -> None:
        """Stamps of the stations, by request, from a slice of its own."""
        with (self._folder / "stages.jsonl").open("a") as file:
            for stamp in stamps:
                file.write(json.dumps({"arm": arm, "cell": cell, "block": block, "stamps": stamp}) + "\n")


@dataclass(slots=True)
class Samples:
    """A run's samples as they were written."""

    experiment: Experiment
    slices: list[tuple[SliceLine, NDArray[np.int64]]]
    stages: list[dict[str, Any]]
    capacities: list[dict[str, Any]]
    """By block, cell and arm: goal_ms, tried (rate, share in time, 95th percentile in ms, generator busy), bracket."""
    starts: list[dict[str, Any]]
    """By block: cold_start_s, first_ms by arm, peak_memory_bytes by service."""
    sha256: str
    """Over all sample files, in order of their names."""

    @property
    def blocks(self) -> int:
        return len({line.block for line, _ in self.slices})


def read(folder: Path) -> Samples:
    """The samples of the run in `folder`; SamplesError says what is missing."""
    inside = folder / "samples"
    try:
        document = json.loads((inside / "experiment.json").read_text())
    except FileNotFoundError:
        raise SamplesError(f"{folder} holds no run: samples/experiment.json is not there") from None
    except ValueError:
        raise SamplesError(f"{inside / 'experiment.json'} is not JSON; the run's folder is damaged") from None
    try:
        document["cells"] = [_cell(cell) for cell in document["cells"]]
        experiment = Experiment(**document)
    except (KeyError, TypeError, AttributeError):
        raise SamplesError(f"{inside / 'experiment.json'} is no experiment of this program") from None
    found = {name: _whole_lines(inside / f"{name}.jsonl") for name in ("slices", "stages", "capacity", "blocks")}
    torn = [name for name, (_, is_torn) in found.items() if is_torn]
    slices, lost = _tables(inside, found["slices"][0])
    if lost:
        torn.append(lost)
    experiment.notes = [
        *experiment.notes,
        *(f"the last entry of samples/{name}{'.jsonl' * (name in found)} was torn and is left out" for name in torn),
    ]
    stages, capacity, blocks = (found[name][0] for name in ("stages", "capacity", "blocks"))
    return Samples(experiment, slices, stages, capacity, blocks, _hash(inside))


def _tables(inside: Path, lines: list[dict[str, Any]]) -> tuple[list[tuple[SliceLine, NDArray[np.int64]]], str]:
    """Slices with their requests, and the name of the last one's file when that is torn."""
    slices: list[tuple[SliceLine, NDArray[np.int64]]] = []
    for number, item in enumerate(lines, 1):
        try:
            line = SliceLine(**item)
        except TypeError:
            raise SamplesError(f"{inside / 'slices.jsonl'} holds a line that is no slice of this program") from None
        try:
            slices.append((line, np.load(inside / line.file)))
        except (OSError, ValueError, EOFError) as error:
            if number == len(lines):
                return slices, line.file
            raise SamplesError(f"the sample file {inside / line.file} cannot be read: {error}") from None
    return slices, ""


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The lines of a file, and whether its last one was torn: a kill may stop a write in the middle."""
    if not path.exists():
        return [], False
    found: list[dict[str, Any]] = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line and number == len(lines):
            break
        try:
            found.append(json.loads(line))
        except ValueError:
            if number >= len(lines) - 1:
                return found, True
            raise SamplesError(f"line {number} of {path} is not JSON; the run's folder is damaged") from None
    return found, False


def _hash(inside: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(inside.iterdir()):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n")


def _cell(document: dict[str, Any]) -> Cell:
    from crossover.comparison.design.cells import Cell

    lists: dict[str, Any] = {name: tuple(document[name]) for name in ("arms", "slow") if name in document}
    return Cell(**(document | lists))
