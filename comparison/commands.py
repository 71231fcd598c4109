"""The lab's commands: each takes a parsed command line and gives an exit code."""

from __future__ import annotations

import json
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison import progress
from crossover.comparison.analysis.failif import RuleError
from crossover.comparison.analysis.whole import Analysis
from crossover.comparison.experiment import samples
from crossover.comparison.experiment.run import Run
from crossover.comparison.load.generator import GeneratorError
from crossover.comparison.machine import provenance
from crossover.comparison.network import hosts
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.options import UsageError, checked
from crossover.comparison.report import terminal
from crossover.comparison.report.page import html
from crossover.comparison.report.words import not_measured
from crossover.comparison.services.ask import AskError
from crossover.comparison.services.fleet import FleetError

if TYPE_CHECKING:
    import argparse

    from crossover.comparison.analysis.failif import Rule
    from crossover.comparison.options import Options

OK, FAILED, USAGE, RULE = 0, 1, 2, 3
"""Ended as planned; ended early; cannot be done; a --fail-if rule holds."""


def run(given: argparse.Namespace) -> int:
    """Measure and say what it shows."""
    if hosts.should_move(given.network):
        reason = hosts.why_not()
        if not reason:
            return hosts.moved(given.arguments)
        given.notes = [f"network {name}: skipped, {reason}" for name in given.network if name != LOOPBACK]
        given.network = [name for name in given.network if name == LOOPBACK]
        if not given.network:
            return _refuse("; ".join(given.notes))
    hosts.arrive()
    out = given.out or Path("runs") / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    try:
        options = checked(given, out)
        return _run(options, shlex.join(["python", "-m", "comparison", *given.arguments]))
    except (UsageError, FleetError, GeneratorError, AskError, samples.SamplesError, RuleError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"the run cannot be kept in '{out}': {error.strerror or error}")


def _run(options: Options, command: str) -> int:
    with progress.shown() as told:
        measured = Run(options, command, told)
        measured.measure()
    if not measured.measured:
        return _refuse("the run was stopped before anything was measured")
    (options.out / "provenance.json").write_text(
        json.dumps(provenance.provenance(command, options.seed), indent=1) + "\n"
    )
    summary = finish(options.out, measured.stopped, options)
    if measured.stopped:
        return FAILED
    return RULE if _holds(options.fail_if, summary) else OK


def finish(folder: Path, stopped: str, options: Options | None = None) -> dict[str, Any]:
    """Analyse a run's samples; write its summary and report, and show the verdict."""
    found = samples.read(folder)
    state = _state(folder, stopped, options)
    analysis = Analysis(found, state.pop("prices"))
    summary = {**analysis.summary(), **state}
    summary["not_measured"] = not_measured(summary)
    provenance = _read_json(folder / "provenance.json")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
    (folder / "report.html").write_text(html(summary, analysis, provenance))
    terminal.show(summary, folder)
    return summary


def _state(folder: Path, stopped: str, options: Options | None) -> dict[str, Any]:
    """What the samples do not hold: whether the run was complete, and the prices; kept beside them for `report`."""
    from dataclasses import asdict

    from crossover.comparison.analysis.cost import Prices

    path = folder / "state.json"
    if options is not None:
        path.write_text(json.dumps({"stopped": stopped, "prices": asdict(options.prices)}) + "\n")
    kept = _read_json(path)
    why = str(kept.get("stopped", ""))
    return {"complete": not why, "stopped": why, "prices": Prices(**kept.get("prices", {}))}


def report(given: argparse.Namespace) -> int:
    """Make summary and report again from the raw samples."""
    try:
        summary = finish(given.folder, "")
        if given.csv:
            from crossover.comparison.report import export

            export.csv_files(summary, given.folder)
    except samples.SamplesError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"'{given.folder}' cannot be written: {error.strerror or error}")
    return OK


def diff(given: argparse.Namespace) -> int:
    """Show what changed between two runs."""
    from crossover.comparison.report import difference

    try:
        difference.show(given.before, given.after)
    except samples.SamplesError as error:
        return _refuse(str(error))
    return OK


def _holds(rules: list[Rule], summary: dict[str, Any]) -> bool:
    held = [rule for rule in rules if rule.holds(summary["cells"])]
    for rule in held:
        print(f"--fail-if holds: {rule.text}", file=sys.stderr)
    return bool(held)


def _refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return USAGE


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
