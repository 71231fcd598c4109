"""`python -m comparison torture`: kill, stop, flood and starve the real services, and say which promises were kept."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from crossover.comparison.machine import provenance
from crossover.comparison.torture.ground import UPSTREAMS, Ground, TortureError
from crossover.comparison.torture.grounds import PLANS, PROMISES
from crossover.comparison.torture.guards import GUARDS, Guard
from crossover.comparison.torture.promise import Figure, Promise

if TYPE_CHECKING:
    import argparse

KEPT, MISSED, REFUSED = 0, 1, 2
_WORDS = {True: "kept", False: "MISSED", None: "skipped"}
_NAME_WIDTH = max(map(len, PROMISES))
_SELF_TEST_UPSTREAMS = ("grpc",)
"""Upstreams of the self-test unless others are asked for: a guard is tried once, not once on each."""


@dataclass(frozen=True, slots=True)
class Line:
    """One promise as it was found."""

    promise: Promise
    figure: Figure
    seconds: float

    @property
    def text(self) -> str:
        found = self.figure
        return f"{_WORDS[found.kept]:7} {self.promise.name:{_NAME_WIDTH}}  {found.text}  [goal: {self.promise.says}]"

    @property
    def document(self) -> dict[str, Any]:
        return {
            "name": self.promise.name, "goal": self.promise.says, "seconds": round(self.seconds, 2),
            "result": _WORDS[self.figure.kept].lower(), "figure": self.figure.text, "values": _finite(self.figure.values),
        }  # fmt: skip


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no infinity: what never came is null."""
    return {name: value if value < float("inf") else None for name, value in values.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"lines by ground or name: {', '.join(PLANS)}, http.heads ...",
    )
    parser.add_argument(
        "--upstream", nargs="+", default=[], choices=UPSTREAMS, metavar="NAME",
        help=f"upstreams of the gateway (default: all): {', '.join(UPSTREAMS)}",
    )  # fmt: skip
    parser.add_argument(
        "--self-test", action="store_true", help="switch each guard off in turn: exactly its line must be missed"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure as JSON")
    parser.add_argument("--log", type=Path, default=Path("/dev/null"), metavar="FILE", help="what the services write")


def chosen(only: Sequence[str]) -> list[Promise]:
    """The promises of these grounds and names, in the table's order; ValueError for a name that is neither."""
    for name in only:
        if name not in PLANS and name not in PROMISES:
            raise ValueError(f"--only '{name}' is neither one of {', '.join(PLANS)} nor one of {', '.join(PROMISES)}")
    return [one for one in PROMISES.values() if not only or one.name in only or one.ground in only]


def run(given: argparse.Namespace) -> int:
    """Try, print, and give the exit code."""
    try:
        promises = chosen(given.only)
        with given.log.open("ab") as log:
            if given.self_test:
                return _self_test(promises, given.upstream or _SELF_TEST_UPSTREAMS, log, given.json)
            return _torture(promises, given.upstream or UPSTREAMS, log, given.json)
    except (ValueError, TortureError, OSError) as error:
        print(str(error), file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return MISSED


def _torture(promises: Sequence[Promise], upstreams: Sequence[str], log: IO[bytes], out: Path | None) -> int:
    began = time.monotonic()
    lines = []
    for line in tried(promises, upstreams, log):
        print(line.text, flush=True)
        lines.append(line)
    missed = [line for line in lines if line.figure.kept is False]
    skipped = [line for line in lines if line.figure.kept is None]
    print(
        f"{len(lines) - len(missed) - len(skipped)} kept, {len(missed)} missed, {len(skipped)} skipped "
        f"in {time.monotonic() - began:.0f} s"
    )
    _keep(out, {"lines": [line.document for line in lines]})
    return MISSED if missed else KEPT


def tried(
    promises: Iterable[Promise], upstreams: Sequence[str], log: IO[bytes], guard: Guard | None = None
) -> Iterator[Line]:
    """Each promise on its ground; `guard` is the one that is off."""
    by_ground: dict[str, list[Promise]] = {}
    for promise in promises:
        by_ground.setdefault(promise.ground, []).append(promise)
    for name, of_ground in by_ground.items():
        with (
            tempfile.TemporaryDirectory(prefix="crossover-torture-") as made,
            Ground(settings_of(name, Path(made)), log, upstreams, Path(made), guard) as ground,
        ):
            for promise in of_ground:
                began = time.monotonic()
                figure = promise.measure(ground)
                yield Line(promise, figure, time.monotonic() - began)


def settings_of(ground: str, folder: Path) -> dict[str, str]:
    """What the ground's services are told, with the files that belong to it made in `folder`."""
    plan = PLANS[ground]
    settings = dict(plan.settings)
    if plan.made is not None:
        settings |= plan.made(folder)
    if plan.repository is not None:
        (folder / "models").mkdir()
        plan.repository(folder / "models")
        settings["MODEL_REPOSITORY"] = str(folder / "models")
    return settings


def _self_test(promises: Sequence[Promise], upstreams: Sequence[str], log: IO[bytes], out: Path | None) -> int:
    """Each guard off in turn, and every line of its ground tried: exactly its own must be missed."""
    wanted = {promise.name for promise in promises}
    guards = [guard for guard in GUARDS if guard.line in wanted]
    if not guards:
        raise ValueError(f"no guard belongs to {', '.join(sorted(wanted))}; those with one: {_lines_with_guards()}")
    wrong, found = 0, []
    for guard in guards:
        beside = [one for one in PROMISES.values() if one.ground == PROMISES[guard.line].ground and one.name in wanted]
        lines = list(tried(beside, upstreams, log, guard))
        result = judged(guard, lines)
        wrong += result is not None
        text = f"without {guard.name}: {guard.line}"
        print(f"{'seen' if result is None else 'WRONG':7} {text}" + (f"; {result}" if result else ""), flush=True)
        found.append(
            {"guard": guard.name, "line": guard.line, "wrong": result, "lines": [one.document for one in lines]}
        )
    print(f"{len(guards) - wrong} of {len(guards)} guards: exactly their line was missed")
    _keep(out, {"guards": found})
    return MISSED if wrong else KEPT


def judged(guard: Guard, lines: Sequence[Line]) -> str | None:
    """What is wrong with what was found while a guard was off; None when exactly its line was missed."""
    by_name = {line.promise.name: line for line in lines}
    own = by_name[guard.line].figure
    if own.kept is None:
        return None
    others = [
        name for name, line in by_name.items()
        if line.figure.kept is False and name != guard.line and name not in guard.also
    ]  # fmt: skip
    if own.kept:
        return f"kept nevertheless: {own.text}"
    return "missed too: " + "; ".join(f"{name}: {by_name[name].figure.text}" for name in others) if others else None


def _lines_with_guards() -> str:
    return ", ".join(guard.line for guard in GUARDS)


def _keep(out: Path | None, found: dict[str, Any]) -> None:
    if out is not None:
        machine = provenance.provenance("python -m comparison torture", 0)
        out.write_text(json.dumps({"machine": machine, **found}, indent=1, allow_nan=False) + "\n")
