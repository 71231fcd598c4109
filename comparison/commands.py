"""The lab's commands: each takes a parsed command line and gives an exit code."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison import progress
from crossover.comparison.analysis import published
from crossover.comparison.analysis.cost import Prices
from crossover.comparison.analysis.failif import RuleError
from crossover.comparison.analysis.whole import Analysis
from crossover.comparison.design import joining, samples
from crossover.comparison.experiment.own import OipServices
from crossover.comparison.experiment.run import Run
from crossover.comparison.fleet import command as fleet
from crossover.comparison.load.generator import GeneratorError
from crossover.comparison.machine import calibration, provenance
from crossover.comparison.network import hosts
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.options import FLEET, ROOT, UsageError, checked, continued, outputs_of
from crossover.comparison.options import rules as parsed_rules
from crossover.comparison.report import beside, junit, markdown, terminal
from crossover.comparison.report.words import headline, not_measured
from crossover.comparison.services import scratch
from crossover.comparison.services.ask import AskError, LostError
from crossover.comparison.services.fleet import FleetError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from crossover.comparison.analysis.failif import Rule
    from crossover.comparison.course import Course
    from crossover.comparison.experiment.subject import Subject

CHANGED = 1
RESULTS = "results"
"""The folder of the published runs, beside the code."""
_KILLED = "it was killed before its end"
OK, FAILED, USAGE, RULE, WITHHELD = 0, 1, 2, 3, 4
"""Ended as planned; ended early, or a service failed; cannot be done; a --fail-if rule holds; a control withholds verdicts."""


def run(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    """Measure and say what it shows."""
    if given.goes_on is not None:
        try:
            given = continued(given, parser, "run")
        except UsageError as error:
            return refuse(str(error))
    if given.view == FLEET:
        return fleet.run(given, folder_of(given))
    elsewhere = moved(given)
    if elsewhere is not None:
        return elsewhere
    out = folder_of(given)

    def measure() -> int:
        options = checked(given, out)
        return measured(options, OipServices(options), given.arguments)

    return refusing(measure, out)


def moved(given: argparse.Namespace) -> int | None:
    """Where a network is asked for: the exit code of this command on a host of its own, or that of a refusal.

    None: go on here, without the networks that cannot be had, which `given.notes` says.
    """
    networks = given.network or [LOOPBACK]
    if hosts.should_move(networks):
        reason = hosts.why_not()
        if not reason:
            return hosts.moved(given.arguments)
        given.notes = [f"network {name}: skipped, {reason}" for name in networks if name != LOOPBACK]
        given.network = [name for name in networks if name == LOOPBACK]
        if not given.network:
            return refuse("; ".join(given.notes))
    hosts.arrive()
    return None


def folder_of(given: argparse.Namespace) -> Path:
    """Where the result goes."""
    return given.out or Path("runs") / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")


def refusing(work: Callable[[], int], out: Path) -> int:
    """The exit code of `work`, or that of its refusal, told in one sentence."""
    try:
        return work()
    except LostError as error:
        print(f"The run ended before anything was measured: {error}", file=sys.stderr)
        return FAILED
    except (UsageError, FleetError, GeneratorError, AskError, samples.SamplesError, RuleError) as error:
        return refuse(str(error))
    except OSError as error:
        return refuse(f"the run cannot be kept in '{out}': {error.strerror or error}")


def measured(course: Course, subject: Subject[Any], arguments: list[str]) -> int:
    """Measure `subject`, say what it shows, and give the exit code; `arguments` are the whole command line."""
    scratch.sweep()
    command = shlex.join(["python", "-m", "comparison", *arguments])
    with progress.shown() as told:
        run = Run(course, subject, command, told)
        keep_state(course, _KILLED)  # until it ends, a run is one that was killed
        run.measure()
    if not run.measured:
        return refuse("the run was stopped before anything was measured")
    try:
        summary = _told(course, run, command)
    except OSError as error:
        print(
            f"The run ended early: '{course.out}' takes no more: {error.strerror or error}; `report` reads what it holds",
            file=sys.stderr,
        )
        return FAILED
    if run.stopped:
        print(f"The run ended early: {run.stopped}", file=sys.stderr)
        return FAILED
    if _holds(course.fail_if, summary):
        return RULE
    return WITHHELD if summary["withheld"] else OK


def _told(course: Course, run: Run, command: str) -> dict[str, Any]:
    """Keep what the samples do not hold, and show what the run says; its summary."""
    origin = {**provenance.provenance(command, course.seed), "calibration": calibration.calibration()}
    (course.out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n")
    keep_state(course, run.stopped, wrong=run.wrong)
    return finish(course.out, course.outputs, course.fail_if)


def finish(
    folder: Path,
    outputs: Sequence[str] = (),
    rules: Sequence[Rule] = (),
) -> dict[str, Any]:
    """Analyse a run's samples; write its summary and report, and `outputs` beside them, and show the verdict."""
    found = samples.read(folder)
    state = _state(folder)
    analysis = Analysis(found, state.pop("prices"), state["stopped"] if state["wrong"] else "")
    summary = {**analysis.summary(), **state}
    summary["not_measured"] = not_measured(summary)
    provenance = _read_json(folder / "provenance.json")
    with contextlib.suppress(published.ResultError):  # `claims` tells of a damaged row; a run is no worse for it
        summary["published"] = published.compared(summary, published.rows(ROOT / RESULTS))
    (folder / "summary.json").write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n")
    (folder / "headline.json").write_text(json.dumps(headline(summary), allow_nan=False) + "\n")
    from crossover.comparison.report.page import html  # drawing takes half a second to import

    (folder / "report.html").write_text(html(summary, analysis, provenance))
    if "markdown" in outputs:
        markdown.write(summary, folder / "summary.md")
    if "junit" in outputs:
        junit.write(summary, rules, folder / "junit.xml")
    terminal.show(summary, folder)
    for line in beside.published(summary.get("published", ())):
        print(line)
    return summary


def _state(folder: Path) -> dict[str, Any]:
    """What the samples do not hold: whether the run was complete, which wrong reply ended it, and the prices."""
    kept = _read_json(folder / "state.json")
    why = str(kept.get("stopped", _KILLED))
    return {
        "complete": not why,
        "stopped": why,
        "wrong": bool(kept.get("wrong")),
        "prices": Prices(**kept.get("prices", {})),
    }


def keep_state(course: Course, stopped: str, *, wrong: bool = False) -> None:
    """Keep beside the samples why the run ended early (empty: it did not), whether by a wrong reply, and the prices."""
    path = course.out / "state.json"
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"stopped": stopped, "wrong": wrong, "prices": asdict(course.prices)}) + "\n")
    new.replace(path)


def report(given: argparse.Namespace) -> int:
    """Make summary and report again from the raw samples; of several folders, from the parts that they hold."""
    if len(given.folders) > 1 or given.out is not None:
        if given.out is None:
            return refuse("report of several folders joins the parts of one run; give --out DIR for the whole")
        try:
            joining.join(given.folders, given.out)
        except samples.SamplesError as error:
            return refuse(str(error))
        except OSError as error:
            return refuse(f"'{given.out}' cannot be written: {error.strerror or error}")
    given.folder = given.out or given.folders[0]
    if (given.folder / fleet.SAMPLES).is_file():
        fleet.finish(given.folder)
        return OK
    try:
        joining.check_whole(given.folder)
        summary = finish(given.folder, outputs=outputs_of(given), rules=parsed_rules(given.fail_if))
        if given.csv:
            from crossover.comparison.report import export

            export.csv_files(summary, given.folder)
        if given.result is not None:
            _publish(summary, given)
        if _holds(parsed_rules(given.fail_if), summary):
            return RULE
    except (samples.SamplesError, UsageError, RuleError) as error:
        return refuse(str(error))
    except OSError as error:
        return refuse(f"'{given.folder}' cannot be written: {error.strerror or error}")
    return OK


def _publish(summary: dict[str, Any], given: argparse.Namespace) -> None:
    """Keep the run as a row for `results/`."""
    row = published.row(summary, _read_json(given.folder / "provenance.json"), given.result.stem)
    given.result.write_text(json.dumps(row, indent=1, allow_nan=False) + "\n", "utf-8")


def claims(given: argparse.Namespace) -> int:
    """On how many published runs each sentence of a document holds. Exit code 1: one holds on others than it says."""
    try:
        rows = published.rows(given.results)
        found = published.claims(given.document.read_text("utf-8"))
    except (published.ResultError, UnicodeDecodeError) as error:
        return refuse(f"'{given.document}': {error}")
    except OSError as error:
        return refuse(f"'{error.filename}': {error.strerror or error}")
    if not rows:
        return refuse(f"'{given.results}' holds no published run")
    stood = [(claim, published.standing(claim, rows)) for claim in found]
    for claim, standing in stood:
        print(beside.claim(claim, standing))
    return CHANGED if any(not standing.agrees(claim) for claim, standing in stood) else OK


def diff(given: argparse.Namespace) -> int:
    """What changed between two runs. Exit code 0: nothing beyond noise; 1: something."""
    from crossover.comparison.report import difference

    try:
        found = difference.compared(given.before, given.after)
    except (samples.SamplesError, difference.NothingInCommonError) as error:
        return refuse(str(error))
    if given.json:
        print(json.dumps(found, indent=1, allow_nan=False))
    else:
        difference.show(found)
    return CHANGED if found["changed"] else OK


def figure(given: argparse.Namespace) -> int:
    """Draw the ratios in a findings document as one SVG file."""
    from crossover.comparison.report.figures import readme

    try:
        given.out.write_text(readme.svg(given.findings.read_text("utf-8")), "utf-8")
    except (readme.FindingsError, UnicodeDecodeError) as error:
        return refuse(f"'{given.findings}' cannot be drawn: {error}")
    except OSError as error:
        return refuse(f"'{error.filename}': {error.strerror or error}")
    return OK


def _holds(rules: list[Rule], summary: dict[str, Any]) -> bool:
    held = [rule for rule in rules if rule.holds(summary["cells"])]
    for rule in held:
        print(f"--fail-if holds: {rule.text}", file=sys.stderr)
    return bool(held)


def refuse(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return USAGE


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
