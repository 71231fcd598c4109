"""`python -m comparison bench`."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison import progress
from crossover.comparison.bench import against, footprint, growth, measure, soak, table
from crossover.comparison.bench.points import POINTS
from crossover.comparison.bench.services import Services
from crossover.comparison.design import naming
from crossover.comparison.load.generator import GeneratorError
from crossover.comparison.machine import calibration, provenance
from crossover.comparison.report import terminal
from crossover.comparison.services.ask import AskError
from crossover.stack.services import StartError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_STOPPED, _REFUSED = 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="how often every point is measured (default: 5)"
    )
    parser.add_argument("--slice", type=float, default=0.6, metavar="SECONDS", help="how long each time (default: 0.6)")
    parser.add_argument("--points", default="", metavar="REGEX", help="only points whose names match, and their floors")
    parser.add_argument(
        "--growth", action="store_true",
        help="instead: how cost grows with payload, batch, callers and models (some eight minutes)",
    )  # fmt: skip
    parser.add_argument(
        "--soak", type=float, metavar="MINUTES", help="instead: memory under load for so long, and how it grows"
    )
    parser.add_argument(
        "--footprint", action="store_true",
        help="instead: memory and start of both services beside processes that only import the same libraries (two minutes)",
    )  # fmt: skip
    parser.add_argument(
        "--against", metavar="COMMIT", help="instead: the services of this checkout and of COMMIT, measured in turn"
    )
    parser.add_argument("--figure", type=Path, metavar="FILE", help="with --growth: draw it as SVG")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write every figure as JSON")
    parser.add_argument("--log", type=Path, default=Path("/dev/null"), metavar="FILE", help="what the services write")


def chosen(pattern: str) -> list[str]:
    """The names of the points that match, with the floors that their ratios need; ValueError when none does."""
    try:
        wanted = [name for name in POINTS if re.search(pattern, name)]
    except re.error as error:
        raise ValueError(f"--points '{pattern}' is not a regular expression: {error}") from None
    if not wanted:
        raise ValueError(f"--points '{pattern}' matches none of: {'; '.join(POINTS)}")
    floors = [floor for name in wanted for floor in POINTS[name].floor if floor in POINTS]
    return list(dict.fromkeys([*floors, *wanted]))


def run(given: argparse.Namespace) -> int:
    """Measure and print."""
    try:
        if given.rounds < 1 or given.slice <= 0:
            raise ValueError("--rounds and --slice must be above 0")
        if given.soak is not None and given.soak <= 0:
            raise ValueError("--soak takes minutes, above 0")
        chosen_run = (
            _grow
            if given.growth
            else _soak
            if given.soak
            else _start
            if given.footprint
            else _against
            if given.against
            else _compare
        )
        chosen_run(given)
    except (ValueError, AskError, StartError, GeneratorError, measure.BenchError) as error:
        print(str(error), file=sys.stderr)
        return _REFUSED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return _STOPPED
    return 0


def _chosen(given: argparse.Namespace) -> Callable[[argparse.Namespace], None]:
    """What is to be measured: the first that is asked for, else every point."""
    asked = {_grow: given.growth, _soak: given.soak, _start: given.footprint, _against: given.against}
    return next((measuring for measuring, wanted in asked.items() if wanted), _compare)


def _compare(given: argparse.Namespace) -> None:
    """Every point beside its floors."""
    names = chosen(given.points)
    with progress.shown() as told, Services(given.log, names=_services(names)) as services:
        told.total(given.rounds * len(names))
        rounds = measure.measure(services, names, given.rounds, given.slice, told.step)
        memory = services.memory()
    copy_us, steps = measure.own_memory_copy_us(table.IMAGE_BYTES), calibration.calibration()
    _show(rounds, copy_us, memory)
    _show_host(steps)
    _keep(
        given.out, {"calibration": steps, "copy_us": copy_us, "pss_bytes": memory, "rounds": measure.documents(rounds)}
    )


def _against(given: argparse.Namespace) -> None:
    """Every point of the services beside the same of an earlier commit."""
    names = against.comparable(chosen(given.points))
    if not names:
        raise ValueError(f"--points '{given.points}' matches no point of the services; --against compares only those")
    with tempfile.TemporaryDirectory(prefix="crossover-against-") as folder:
        against.export(given.against, Path(folder))
        with (
            progress.shown() as told,
            Services(given.log, floors=False, names=_services(names)) as now,
            Services(given.log, checkout=Path(folder), floors=False, names=_services(names)) as before,
        ):
            told.total(given.rounds * len(names))
            rounds = against.measure(now, before, names, given.rounds, given.slice, told.step)
    terminal.console().print(against.table(rounds, names, given.against))
    figures = [{name: [asdict(one) for one in pair] for name, pair in found.items()} for found in rounds]
    _keep(given.out, {"against": given.against, "rounds": figures})


def _services(names: list[str]) -> set[str]:
    return {POINTS[name].service for name in names if POINTS[name].service != "floor"}


def _grow(given: argparse.Namespace) -> None:
    """How cost grows."""
    with progress.shown() as told, Services(given.log, copies=growth.MOST_MODELS) as services:
        told.total(given.rounds * growth.count())
        found = growth.measured(services, given.rounds, given.slice, told.step)
    console = terminal.console()
    for shown in growth.tables(found):
        console.print(shown)
    _keep(given.out, {"cpu_us": found})
    if given.figure:
        from crossover.comparison.bench import picture

        picture.draw(found, given.figure)


def _soak(given: argparse.Namespace) -> None:
    """Whether memory stays flat."""
    with progress.shown() as told, Services(given.log) as services:
        samples = soak.measured(services, given.soak, given.slice, told.step)
    terminal.console().print(soak.table(samples))
    _keep(given.out, {"pss_bytes": samples})


def _start(given: argparse.Namespace) -> None:
    """What both services take before they do anything, and after load."""
    with progress.shown() as told:
        told.total(3 * given.rounds)
        rounds = footprint.measured(given.log, given.rounds, given.slice, told.step)
    terminal.console().print(footprint.table(rounds))
    _keep(given.out, {"rounds": [asdict(found) for found in rounds]})


def _keep(out: Path | None, found: dict[str, Any]) -> None:
    if out is not None:
        machine = provenance.provenance("python -m comparison bench", 0)
        out.write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n")


def _show(rounds: table.Rounds, copy_us: float, memory: dict[str, int]) -> None:
    console = terminal.console()
    for shown in table.tables(rounds, copy_us):
        console.print(shown)
    console.print(
        f"Medians of {len(rounds)} rounds (least-most). CPU counts every thread of the services named. "
        f"A copy of the image's 602 KB takes {copy_us:.0f} us here."
    )
    sizes = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in memory.items())
    console.print(f"Memory after it (PSS): {sizes}.")


def _show_host(steps: dict[str, float]) -> None:
    """What two hosts' figures are to be set beside."""
    told = [
        f"{letter}: {naming.STEPS[name]} {steps[name]:,.0f} {name.rpartition('_')[2]}"
        for letter, name in table.STEPS.items() if name in steps
    ]  # fmt: skip
    terminal.console().print(
        f"This host's steps: {', '.join(told)}. On another host a row differs as those differ that it is made of most; ratios hold "
        "where these differ alike."
    )
