"""What a run is asked to do, and whether that can be done: every mistake is one sentence."""

from __future__ import annotations

import argparse
import math
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crossover.comparison.analysis.cost import Prices
from crossover.comparison.analysis.failif import Rule, RuleError, parse
from crossover.comparison.course import Course
from crossover.comparison.design import samples
from crossover.comparison.design.arms import ARMS, QUICK_ARMS, THOROUGH_ARMS, UnknownArmError, chosen, headline_pairs
from crossover.comparison.design.payloads import Wish
from crossover.comparison.fleet import command as fleet
from crossover.comparison.lab.wires import LAB_WIRES, UNIX_WIRES
from crossover.comparison.network.profiles import LOOPBACK, NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.design.arms import Arm

ROOT = Path(__file__).resolve().parents[1]
FOREIGN_REST_ARMS, FOREIGN_GRPC_ARMS = ("rest", "rest-binary"), ("grpc", "grpc-again")
VIEWS = ("end-to-end", "hop")
FLEET = "fleet"
"""The view over several replicas; it has options and a report of its own (comparison/fleet)."""
_ROOM_BYTES = 200 << 20
_LONGEST_CURRENCY = 12
_LEAST_LOAD, _MOST_LOAD = 0.01, 0.95


class UsageError(ValueError):
    """The command line asks for what cannot be done, in one sentence."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The default numbers of a kind of run."""

    payloads: tuple[int, ...]
    arms: tuple[str, ...]
    blocks: int
    turns: int
    seconds: float


QUICK = Plan((256, 16 << 10, 1 << 20), QUICK_ARMS, blocks=6, turns=10, seconds=0.125)
THOROUGH = Plan((256, 4 << 10, 64 << 10, 1 << 20), THOROUGH_ARMS, blocks=10, turns=12, seconds=0.125)


@dataclass(slots=True)
class Options(Course):
    """A checked command line of `run`."""

    model: str
    repository: Path
    payloads: list[int]
    natural_payload: bool
    """No size was asked for, and the model is not one of the lab's: its own smallest request is sent."""
    request: Path | None
    wish: Wish
    """What the lab's own models are asked for beside the size."""
    rest: str | None
    grpc: str | None
    tolerance: float
    """Relative difference from the reference arm's numbers that passes, for services of somebody else."""

    @property
    def foreign(self) -> bool:
        """The services are not ours: the hop alone is measured, with our clients."""
        return self.rest is not None or self.grpc is not None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    add = parser.add_argument
    add(
        "--view",
        choices=(*VIEWS, FLEET),
        help="through the gateway with the same load for every arm, our clients straight to the model server, or several replicas",
    )
    add("--model", default="identity", help="model to call (default: identity, which gives its input back)")
    add("--repository", type=Path, metavar="DIR", help="model repository (default: models/)")
    add("--payload", type=int, nargs="+", metavar="BYTES", help="tensor bytes of a request; several make several cells")
    add("--request", type=Path, metavar="FILE", help="send this OIP JSON request instead of generated ones")
    add("--reply", type=int, metavar="BYTES", help="bytes of the reply, with --model sized (default: as the request)")
    add("--work", type=int, metavar="TURNS", help="turns of the model's own work, with --model work (default: 10)")
    add("--concurrency", type=int, nargs="+", default=[64], metavar="N", help="connections of the load (default: 64)")
    add("--rate", type=float, nargs="+", metavar="RPS", help="open-loop requests per second (default: by --load)")
    add(
        "--load",
        type=float,
        nargs="+",
        metavar="SHARE",
        help="share of what the slowest arm reached in the probe (default: 0.3)",
    )
    add("--closed", action="store_true", help="closed loop: every connection sends when it has its answer")
    add(
        "--goal",
        type=float,
        metavar="MS",
        help="also search the highest rate at which 95 %% of requests are answered within MS milliseconds",
    )
    add(
        "--network",
        nargs="+",
        default=[LOOPBACK],
        choices=NETWORKS,
        metavar="PROFILE",
        help=f"network of the hop, any of {', '.join(NETWORKS)} (default: {LOOPBACK})",
    )
    add("--tls", action="store_true", help="TLS between gateway and model server (or client and model server)")
    add("--arms", nargs="+", metavar="ARM", help=f"any of {', '.join(ARMS)}")
    add(
        "--blocks",
        type=int,
        metavar="N",
        help=f"fresh starts of all services (default: {QUICK.blocks}; --thorough {THOROUGH.blocks})",
    )
    add(
        "--turns",
        type=int,
        metavar="N",
        help=f"slices of each arm in a block and cell (default: {QUICK.turns}; --thorough {THOROUGH.turns})",
    )
    add(
        "--slice", type=float, dest="seconds", metavar="SECONDS", help=f"length of a slice (default: {QUICK.seconds:g})"
    )
    add("--seed", type=int, default=1, help="of schedules, payloads and orders (default: 1)")
    add("--thorough", action="store_true", help="more payloads, arms and blocks: some 35 minutes")
    add("--rest", metavar="URL", help="compare a running OIP service: its REST address")
    add("--grpc", metavar="TARGET", help="compare a running OIP service: its gRPC host:port")
    add(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="with --rest and --grpc: relative difference of FP32 numbers that passes (default: bit for bit)",
    )
    fleet.add_arguments(add)
    add("--out", type=Path, metavar="DIR", help="folder of the result (default: runs/<UTC time>)")
    add_generators_argument(parser)
    add_continue_argument(parser)
    add_result_arguments(parser)


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """What is written beside summary and report, and when the exit code is 3."""
    add = parser.add_argument
    add("--markdown", action="store_true", help="also write summary.md, for a pull request")
    add("--junit", action="store_true", help="also write junit.xml, for a CI system")
    add(
        "--fail-if",
        action="append",
        default=[],
        metavar="RULE",
        help="exit code 3 when the rule holds (docs/summary.md)",
    )


def outputs_of(given: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for name in ("markdown", "junit") if getattr(given, name))


def add_generators_argument(parser: argparse.ArgumentParser) -> None:
    """The option that shares the load among processes."""
    parser.add_argument(
        "--generators",
        type=int,
        default=1,
        metavar="N",
        help="processes that share the load, its requests and its connections (default: 1)",
    )


def add_continue_argument(parser: argparse.ArgumentParser) -> None:
    """The option that adds blocks to a run."""
    parser.add_argument(
        "--continue",
        type=Path,
        dest="goes_on",
        metavar="RUN",
        help="add --blocks N to the run in this folder, as it was asked for",
    )


def continued(given: argparse.Namespace, parser: argparse.ArgumentParser, command: str) -> argparse.Namespace:
    """The command line of the run that `--continue` names, with that folder and the blocks that are to be added.

    UsageError where that run cannot be continued, or where anything else is asked for beside.
    """
    folder: Path = given.goes_on
    try:
        words = shlex.split(samples.read(folder).experiment.command)
    except samples.SamplesError as error:
        raise UsageError(f"--continue: {error}") from None
    if command not in words:
        raise UsageError(f"--continue: the run in '{folder}' was not made by `{command}`: {' '.join(words[:5])}")
    if given.blocks is None:
        raise UsageError("--continue goes with --blocks N, the number of blocks to add")
    _check_alone(given, parser)
    found = parser.parse_args(words[words.index(command) + 1 :])
    found.markdown, found.junit = given.markdown or found.markdown, given.junit or found.junit
    found.out, found.blocks, found.goes_on, found.fail_if = folder, given.blocks, folder, given.fail_if or found.fail_if
    found.arguments = given.arguments
    found.words = words[words.index(command) + 1 :]
    return found


def _check_alone(given: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if action.dest in {"help", "goes_on", "blocks", "fail_if", "markdown", "junit"}:
            continue
        if getattr(given, action.dest, action.default) != action.default:
            name = action.option_strings[-1] if action.option_strings else action.dest
            raise UsageError(f"{name} does not go with --continue: a run goes on as it was asked for")


def add_price_arguments(parser: argparse.ArgumentParser) -> None:
    """The reader's own prices."""
    add = parser.add_argument
    add("--price-vcpu-hour", type=float, default=Prices().vcpu_hour, help="price of a vCPU hour (default: 0.04)")
    add(
        "--price-gigabyte",
        type=float,
        default=Prices().gigabyte,
        help="price of 10^9 bytes over the hop (default: 0.01)",
    )
    add("--currency", default="", metavar="NAME", help="of the prices, as it is to be shown: USD, EUR (default: none)")
    add(
        "--utilisation", type=float, default=Prices().utilisation, help="used share of the paid CPU time (default: 0.6)"
    )


def add_result_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of what is made of a run's samples."""
    add_output_arguments(parser)
    add_price_arguments(parser)


def checked(given: argparse.Namespace, out: Path) -> Options:
    """The options of a parsed command line; UsageError for what cannot be."""
    plan = THOROUGH if given.thorough else QUICK
    check_loop(given)
    _check_foreign(given)
    for name in ("replicas", "balancer", "event"):
        if getattr(given, name) is not None:
            raise UsageError(f"--{name} goes with --view {FLEET}")
    foreign = bool(given.rest or given.grpc)
    options = Options(
        view=VIEWS[1] if foreign else given.view or VIEWS[0],
        model=given.model,
        repository=(given.repository or ROOT / "models").resolve(),
        payloads=given.payload or list(plan.payloads),
        natural_payload=not given.payload and given.model not in {"identity", "sized", "work"},
        request=given.request,
        wish=_wish(given),
        concurrency=given.concurrency,
        rates=given.rate or [],
        loads=given.load or [0.3],
        closed=given.closed,
        goal_ms=given.goal,
        networks=list(dict.fromkeys(given.network)),
        tls=given.tls,
        arms=_arms(given, plan.arms),
        blocks=plan.blocks if given.blocks is None else given.blocks,
        turns=plan.turns if given.turns is None else given.turns,
        seconds=plan.seconds if given.seconds is None else given.seconds,
        seed=given.seed,
        thorough=given.thorough,
        rest=given.rest,
        grpc=given.grpc,
        tolerance=given.tolerance,
        out=out,
        fail_if=rules(given.fail_if),
        notes=[*getattr(given, "notes", []), *_nothing_compared(given, plan.arms)],
        prices=prices(given),
        goes_on=given.goes_on is not None,
        outputs=outputs_of(given),
        generators=given.generators,
    )
    if options.generators > 1 and options.view == VIEWS[1]:
        raise UsageError(
            "--generators goes with --view end-to-end and with `pair`: elsewhere the client is part of what is measured"
        )
    if options.request is not None and not options.request.is_file():
        raise UsageError(f"--request: the file '{options.request}' cannot be read")
    if not foreign:
        _check_repository(options)
    elif options.networks != [LOOPBACK]:
        raise UsageError(
            "--network needs services that the lab starts itself; it cannot put a network before --rest and --grpc"
        )
    check_course(options, options.payloads)
    return options


def _nothing_compared(given: argparse.Namespace, default: Sequence[str]) -> list[str]:
    """What to say of arms of which no two are compared: such a run is still good for something."""
    if headline_pairs(arm.name for arm in _arms(given, default)):
        return []
    return [
        "no two of these arms are a declared pair: latency, CPU and capacity of each are shown, and nothing is compared"
    ]


def _arms(given: argparse.Namespace, default: Sequence[str]) -> list[Arm]:
    names: list[str] = list(given.arms or default)
    local = [name for name in names if name in UNIX_WIRES]
    if local and any(network != LOOPBACK for network in given.network):
        raise UsageError(f"arm '{local[0]}' cannot leave the host; it goes with --network {LOOPBACK}")
    if given.tls:
        names = _with_tls(given, names)
    if given.view == "hop":
        for name in given.arms or ():
            if name in ARMS and ARMS[name].kind == "process":
                raise UsageError(f"arm '{name}' has no hop to measure with --view hop; it goes with --view end-to-end")
        names = [name for name in names if name not in ARMS or ARMS[name].kind != "process"]
    if given.rest or given.grpc:
        offered = (FOREIGN_REST_ARMS if given.rest else ()) + (FOREIGN_GRPC_ARMS if given.grpc else ())
        names = list(given.arms or offered)
        for name in names:
            if name not in offered and name not in {"grpc-typed", "grpc-stream"}:
                raise UsageError(f"arm '{name}' does not go with --rest and --grpc as given; use {', '.join(offered)}")
    try:
        return chosen(names)
    except UnknownArmError as error:
        raise UsageError(f"--arms: {error}") from None


def _wish(given: argparse.Namespace) -> Wish:
    for name, value, model, most in (
        ("--reply", given.reply, "sized", 512 << 20),
        ("--work", given.work, "work", 10**6),
    ):
        if value is None:
            continue
        if given.model != model:
            raise UsageError(
                f"{name} goes with --model {model}, whose requests say it; '{given.model}' knows nothing of it"
            )
        if not 1 <= value <= most:
            raise UsageError(f"{name} takes values from 1 to {most}")
    return Wish(given.reply, given.work or Wish().work)


def _with_tls(given: argparse.Namespace, names: list[str]) -> list[str]:
    """The arms that have TLS: those that users have too."""
    plain = [name for name in names if name in ARMS and ARMS[name].upstream in LAB_WIRES]
    if given.arms and plain:
        raise UsageError(f"arm '{plain[0]}' is one of the lab's own, which have no TLS; leave it or --tls out")
    if given.rest or given.grpc:
        raise UsageError("--tls is for services that the lab starts itself; give --rest an https address")
    return [name for name in names if name not in plain]


def rules(texts: Sequence[str]) -> list[Rule]:
    try:
        return [parse(text) for text in texts]
    except RuleError as error:
        raise UsageError(str(error)) from None


def prices(given: argparse.Namespace) -> Prices:
    """The reader's prices; UsageError for what is no price."""
    for name, value in (("--price-vcpu-hour", given.price_vcpu_hour), ("--price-gigabyte", given.price_gigabyte)):
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"{name} takes a number from 0 on, not {value:g}")
    if not 0.01 <= given.utilisation <= 1:
        raise UsageError("--utilisation takes values from 0.01 to 1")
    if len(given.currency) > _LONGEST_CURRENCY or not given.currency.isprintable():
        raise UsageError(f"--currency takes a name of up to {_LONGEST_CURRENCY} characters, such as USD")
    return Prices(given.price_vcpu_hour, given.price_gigabyte, given.utilisation, given.currency.strip())


def check_loop(given: argparse.Namespace) -> None:
    """UsageError for shares that are none, and for two options that say different things about the load."""
    if not all(_LEAST_LOAD <= share <= _MOST_LOAD for share in given.load or ()):
        raise UsageError(f"--load takes values from {_LEAST_LOAD:g} to {_MOST_LOAD:g}")
    if given.closed and given.rate:
        raise UsageError("--closed and --rate contradict each other: in the closed loop the answers make the rate")
    if given.closed and given.load:
        raise UsageError("--closed and --load contradict each other: in the closed loop the answers make the rate")
    if given.rate and given.load:
        raise UsageError("--rate and --load both say how much is sent; give one of them")


def _check_foreign(given: argparse.Namespace) -> None:
    """UsageError for options that would say nothing, since somebody else runs the services."""
    for name in ("rest", "grpc"):
        if getattr(given, name) is not None and not getattr(given, name).strip():
            raise UsageError(f"--{name} is empty; give the service's address, or leave it out to measure our own")
    if given.rest is None and given.grpc is None:
        if given.tolerance:
            raise UsageError("--tolerance goes with --rest and --grpc; our own arms answer alike bit for bit")
        return
    for name, value in (("--view", given.view), ("--repository", given.repository)):
        if value is not None:
            raise UsageError(
                f"{name} is for services that the lab starts itself; it does not go with --rest and --grpc"
            )


def check_course(course: Course, payloads: Sequence[int] = (1,)) -> None:
    """UsageError for a number that is out of its range, and for a place where the result cannot be kept."""
    goal = 1.0 if course.goal_ms is None else course.goal_ms
    limits = (
        ("--payload", min(payloads), 1, 512 << 20, max(payloads)),
        (
            "--connections" if course.view == "pair" else "--concurrency",
            min(course.concurrency), 1, 1000, max(course.concurrency),
        ),
        ("--rate", min(course.rates, default=1.0), 0.01, 100_000, max(course.rates, default=1.0)),
        ("--goal", goal, 0.01, 60_000, goal),
        ("--blocks", course.blocks, 1, 1000, course.blocks),
        ("--turns", course.turns, 1, 100, course.turns),
        ("--slice", course.seconds, 0.05, 600, course.seconds),
        ("--seed", course.seed, 0, 2**31 - 1, course.seed),
        ("--generators", course.generators, 1, 64, course.generators),
    )  # fmt: skip
    for name, smallest, low, high, largest in limits:
        if not low <= smallest <= largest <= high:
            raise UsageError(f"{name} takes values from {low:g} to {high:g}")
    if course.generators > min(course.concurrency):
        raise UsageError(
            f"--generators {course.generators} takes {limits[1][0]} {course.generators} or more: each has connections of its own"
        )
    if all(arm.role != "arm" for arm in course.arms):
        raise UsageError("--arms names only controls; name at least one arm to measure")
    _check_room(course.out, goes_on=course.goes_on)


def _check_repository(options: Options) -> None:
    if not options.repository.is_dir():
        raise UsageError(f"--repository: '{options.repository}' is not a folder")
    if not (options.repository / options.model).is_dir():
        names = sorted(
            path.name for path in options.repository.iterdir() if path.is_dir() and any(path.glob("*/model.onnx"))
        )
        raise UsageError(
            f"model '{options.model}' is not in '{options.repository}'; it holds {', '.join(names) or 'no model'}"
        )


def _check_room(out: Path, *, goes_on: bool) -> None:
    """Refuse before measuring when what is measured could not be kept, or would be mixed with another run's."""
    if (out / "samples" / "experiment.json").exists() and not goes_on:
        raise UsageError(
            f"--out: '{out}' holds a run already; give a folder that does not, or add to it with --continue"
        )
    existing = next(path for path in (out, *out.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < _ROOM_BYTES:
        raise UsageError(f"only {free >> 20} MB are free for '{out}'; a run needs {_ROOM_BYTES >> 20} MB")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "samples").mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: '{out}' cannot be written: {error.strerror}") from None
