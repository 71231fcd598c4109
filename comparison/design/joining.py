"""The parts of one run, made on several machines, as one run (comparison/pair/generate.py makes them)."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from crossover.comparison.design import outcomes, samples
from crossover.comparison.design.samples import SamplesError, SliceLine, Writer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from crossover.comparison.design.samples import Samples

_LOAD_OWN = frozenset({"generator", "caller"})
"""Processes of which each machine has its own; a service is one, whoever saw it."""


def join(folders: Sequence[Path], out: Path) -> None:
    """Write the run that the parts in `folders` make up to `out`; SamplesError where they make up none."""
    if (out / "samples" / "experiment.json").exists():
        raise SamplesError(f"'{out}' holds a run already; give --out a folder that does not")
    parts = _in_order([(folder, samples.read(folder)) for folder in folders])
    whole, of = parts[0].experiment, len(parts)
    found: dict[tuple[int, int, str, int], dict[int, tuple[SliceLine, NDArray[Any]]]] = {}
    for number, part in enumerate(parts):
        for line, table in part.slices:
            found.setdefault((line.block, line.cell, line.arm, line.turn), {})[number] = line, table
    complete = {key: pieces for key, pieces in found.items() if len(pieces) == of}
    if not complete:
        raise SamplesError("the parts have no slice that all of them measured")
    notes = list(dict.fromkeys(note for part in parts for note in part.experiment.notes))
    if lacking := len(found) - len(complete):
        notes.append(f"{lacking} slices that not all machines measured are left out")
    writer = Writer(out)
    writer.experiment(replace(whole, notes=notes, options={**whole.options, "part": None}))
    for pieces in complete.values():
        writer.add(*_joined([pieces[number] for number in range(of)]))
    _keep_state(folders, out, incomplete=bool(lacking))


def check_whole(folder: Path) -> None:
    """SamplesError for a folder that holds one of several parts."""
    part = samples.read(folder).experiment.options.get("part")
    if part and part[1] > 1:
        raise SamplesError(
            f"'{folder}' holds part {part[0] + 1} of {part[1]}; give all of them, and --out DIR for the whole"
        )


def _in_order(read: list[tuple[Path, Samples]]) -> list[Samples]:
    """The parts by their numbers, checked: all of one run, each once, none missing."""
    by_number: dict[int, Samples] = {}
    first_folder, first = read[0]
    for folder, part in read:
        number = part.experiment.options.get("part")
        if not number:
            raise SamplesError(f"'{folder}' is no part of a run: `generate` makes them")
        if _asked(part) != _asked(first):
            raise SamplesError(f"'{folder}' is a part of another run than '{first_folder}': {_difference(part, first)}")
        if number[0] in by_number:
            raise SamplesError(f"'{folder}' is part {number[0] + 1} once more")
        by_number[number[0]] = part
    count = first.experiment.options["part"][1]
    if missing := [str(number + 1) for number in range(count) if number not in by_number]:
        raise SamplesError(f"part {', '.join(missing)} of {count} is missing")
    return [by_number[number] for number in range(count)]


def _asked(part: Samples) -> dict[str, Any]:
    """What must be the same in all parts."""
    experiment = part.experiment
    own = {
        name: value
        for name, value in experiment.options.items()
        if name not in {"part", "services_seen", "differences"}
    }
    of_all = experiment.options.get("part") or [0, 0]
    return {
        **own, "parts": of_all[1], "model": experiment.model, "arms": experiment.arms,
        "cells": [asdict(cell) for cell in experiment.cells],
    }  # fmt: skip


def _difference(one: Samples, other: Samples) -> str:
    a, b = _asked(one), _asked(other)
    name = next(name for name in a if a[name] != b.get(name))
    return f"{name} is {a[name]} in one, {b.get(name)} in the other" if name != "cells" else "other cells"


def _joined(pieces: list[tuple[SliceLine, NDArray[Any]]]) -> tuple[SliceLine, NDArray[Any]]:
    """The slice with every part's requests in their places."""
    table = outcomes.empty(sum(len(requests) for _, requests in pieces), pieces[0][1].shape[1])
    for number, (_, requests) in enumerate(pieces):
        table[number :: len(pieces)] = requests
    lines = [line for line, _ in pieces]
    cpu_ns: dict[str, int] = {}
    for line in lines:
        for name, ns in line.cpu_ns.items():
            cpu_ns[name] = cpu_ns.get(name, 0) + ns if name in _LOAD_OWN else max(cpu_ns.get(name, 0), ns)
    return replace(
        lines[0],
        cpu_ns=cpu_ns,
        wall_ns=max(line.wall_ns for line in lines),
        complaint=next((line.complaint for line in lines if line.complaint), ""),
        opened=sum(line.opened for line in lines),
        generators=[share for line in lines for share in line.generators],
    ), table


def _keep_state(folders: Sequence[Path], out: Path, *, incomplete: bool) -> None:
    """Whether every part ended as planned; and the first part's provenance with all machines."""
    states = [_document(folder / "state.json") for folder in folders]
    origins = [_document(folder / "provenance.json") for folder in folders]
    early = sorted((state for state in states if state.get("stopped")), key=lambda state: not state.get("wrong"))
    stopped = early[0]["stopped"] if early else ""
    stopped = stopped or ("a machine ended before the others" if incomplete else "")
    wrong = any(state.get("wrong") for state in states)
    (out / "state.json").write_text(json.dumps({**states[0], "stopped": stopped, "wrong": wrong}) + "\n")
    machines = [f"{origin.get('processor', '?')}, {origin.get('cpus', '?')} CPUs" for origin in origins]
    (out / "provenance.json").write_text(json.dumps({**origins[0], "load_from": machines}, indent=1) + "\n")


def _document(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
