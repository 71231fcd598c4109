"""The lab's command line; `compare` is `run` for `crossover compare`."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from crossover import VERSION
from crossover.clients.command import Parser
from crossover.comparison import commands, options
from crossover.comparison.bench import command as bench_command
from crossover.comparison.faults import command as faults_command
from crossover.comparison.pair import command as pair_command
from crossover.comparison.pair import generate as generate_command
from crossover.comparison.plan import command as plan_command
from crossover.comparison.torture import command as torture_command

if TYPE_CHECKING:
    from collections.abc import Callable


def main(arguments: list[str] | None, program: str) -> int:
    parser = Parser(prog=program, description="gRPC or REST between two services?")
    parser.add_argument("--version", action="version", version=f"crossover {VERSION}")
    parser.set_defaults(command=None)
    commands_of = parser.add_subparsers(
        metavar="run|pair|faults|plan|generate|report|diff|claims|figure|bench|torture", required=True
    )
    run = commands_of.add_parser("run", help="measure, and say what it shows")
    for each in (run, commands_of.add_parser("compare")):
        options.add_arguments(each)
        each.set_defaults(command=functools.partial(commands.run, each))
    pair = commands_of.add_parser("pair", help="measure a gRPC method against an HTTP endpoint, whoever wrote them")
    pair_command.add_arguments(pair)
    faults = commands_of.add_parser("faults", help="which wire loses less when the service or the network fails?")
    faults_command.add_arguments(faults)
    faults.set_defaults(command=faults_command.run)
    plan = commands_of.add_parser("plan", help="cores, machines, connections, network and cost of a rate of requests")
    plan_command.add_arguments(plan)
    plan.set_defaults(command=plan_command.run)
    generate = commands_of.add_parser(
        "generate", help="send one machine's part of a pair's load; `report` joins the parts"
    )
    generate_command.add_arguments(generate)
    report = commands_of.add_parser("report", help="make a run's summary and report again from its raw samples")
    report.add_argument(
        "folders", type=Path, nargs="+", metavar="RUN", help="a run; or all the parts of one that `generate` made"
    )
    report.add_argument("--out", type=Path, metavar="DIR", help="where the parts' whole run goes")
    report.add_argument("--csv", action="store_true", help="also write cells.csv and arms.csv")
    report.add_argument("--result", type=Path, metavar="FILE", help="also write the run as a row for results/")
    options.add_output_arguments(report)
    report.set_defaults(command=functools.partial(_report, commands.report))
    diff = commands_of.add_parser(
        "diff", help="what changed between two runs beyond noise? exit code 1 when something did"
    )
    diff.add_argument("before", type=Path, metavar="RUN")
    diff.add_argument("after", type=Path, metavar="RUN")
    diff.add_argument("--json", action="store_true", help="print what changed as JSON")
    diff.set_defaults(command=commands.diff)
    claims = commands_of.add_parser("claims", help="on how many published runs each sentence of a document holds")
    claims.add_argument(
        "document", type=Path, nargs="?", default=options.ROOT / "docs" / "choose.md", metavar="DOCUMENT"
    )
    claims.add_argument("--results", type=Path, default=options.ROOT / commands.RESULTS, metavar="DIR")
    claims.set_defaults(command=commands.claims)
    figure = commands_of.add_parser(
        "figure", help="draw the README's picture from the table of ratios in a findings document"
    )
    figure.add_argument("findings", type=Path, metavar="FINDINGS")
    figure.add_argument("out", type=Path, metavar="SVG")
    figure.set_defaults(command=commands.figure)
    bench = commands_of.add_parser(
        "bench", help="what each path costs, against the bare library's cost (about four minutes)"
    )
    bench_command.add_arguments(bench)
    bench.set_defaults(command=bench_command.run)
    torture = commands_of.add_parser(
        "torture", help="kill, stop, flood and starve our services: are the promises kept? (about five minutes)"
    )
    torture_command.add_arguments(torture)
    torture.set_defaults(command=torture_command.run)
    given = parser.parse_args(arguments)
    given.arguments = sys.argv[1:] if arguments is None else arguments
    if given.arguments[:1] == ["compare"]:
        given.arguments = ["run", *given.arguments[1:]]  # how a run that is kept is told to go on
    return int(given.command(given))


def _report(report: Callable[[argparse.Namespace], int], given: argparse.Namespace) -> int:
    """A run of `faults` has a report of its own."""
    first: Path = given.folders[0]
    if (first / faults_command.SAMPLES).is_file():
        faults_command.finish(first)
        return faults_command.OK
    return report(given)
