"""What a run is asked to do, and whether that can be done: every mistake is one sentence."""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crossover.comparison.analysis.cost import Prices
from crossover.comparison.analysis.failif import Rule, RuleError, parse
from crossover.comparison.experiment.arms import ARMS, QUICK_ARMS, THOROUGH_ARMS, UnknownArmError, chosen
from crossover.comparison.experiment.payloads import Wish
from crossover.comparison.lab.wires import LAB_WIRES, UNIX_WIRES
from crossover.comparison.network.profiles import LOOPBACK, NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.experiment.arms import Arm

ROOT = Path(__file__).resolve().parents[1]
FOREIGN_REST_ARMS, FOREIGN_GRPC_ARMS = ("rest", "rest-binary"), ("grpc", "grpc-again")
VIEWS = ("end-to-end", "hop")
_ROOM_BYTES = 200 << 20


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
class Options:
    """A checked command line."""

    view: str
    """`end-to-end`, or `hop`: clients call the model server directly."""
    model: str
    repository: Path
    payloads: list[int]
    natural_payload: bool
    """No size was asked for, and the model is not one of the lab's: its own smallest request is sent."""
    request: Path | None
    wish: Wish
    """What the lab's own models are asked for beside the size."""
    concurrency: list[int]
    rates: list[float]
    """Requests per second that were asked for; empty: shares of the capacity."""
    loads: list[float]
    """Shares of the slowest arm's capacity."""
    closed: bool
    goal_ms: float | None
    """Search each arm's capacity at this latency; None: do not."""
    networks: list[str]
    tls: bool
    """The hop goes over TLS."""
    arms: list[Arm]
    blocks: int
    turns: int
    seconds: float
    seed: int
    thorough: bool
    rest: str | None
    grpc: str | None
    out: Path
    fail_if: list[Rule]
    prices: Prices
    notes: list[str]
    """What had to be left out before anything began, and why."""

    @property
    def foreign(self) -> bool:
        """The services are not ours: the hop alone is measured, with our clients."""
        return self.rest is not None or self.grpc is not None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run`."""
    add = parser.add_argument
    add(
        "--view",
        choices=VIEWS,
        default=VIEWS[0],
        help="through the gateway with the same load for every arm, or our clients straight to the model server",
    )
    add("--model", default="identity", help="model to call (default: identity, which gives its input back)")
    add("--repository", type=Path, default=ROOT / "models", metavar="DIR", help="model repository (default: models/)")
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
        default=[0.3],
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
    add("--blocks", type=int, metavar="N", help="fresh starts of all services (default: 6; --thorough 10)")
    add("--turns", type=int, metavar="N", help="slices of each arm in a block and cell (default: 10; --thorough 14)")
    add("--slice", type=float, dest="seconds", metavar="SECONDS", help="length of a slice (default: 0.125)")
    add("--seed", type=int, default=1, help="of schedules, payloads and orders (default: 1)")
    add("--thorough", action="store_true", help="more payloads, arms and blocks: some 35 minutes")
    add("--rest", metavar="URL", help="compare a running OIP service: its REST address")
    add("--grpc", metavar="TARGET", help="compare a running OIP service: its gRPC host:port")
    add("--out", type=Path, metavar="DIR", help="folder of the result (default: runs/<UTC time>)")
    add(
        "--fail-if",
        action="append",
        default=[],
        metavar="RULE",
        help="exit code 3 when the rule holds (docs/method.md)",
    )
    add("--price-vcpu-hour", type=float, default=Prices().vcpu_hour, help="price of a vCPU hour (default: 0.04)")
    add(
        "--price-gigabyte",
        type=float,
        default=Prices().gigabyte,
        help="price of 10^9 bytes over the hop (default: 0.01)",
    )
    add(
        "--utilisation", type=float, default=Prices().utilisation, help="used share of the paid CPU time (default: 0.6)"
    )


def checked(given: argparse.Namespace, out: Path) -> Options:
    """The options of a parsed command line; UsageError for what cannot be."""
    plan = THOROUGH if given.thorough else QUICK
    foreign = bool(given.rest or given.grpc)
    options = Options(
        view=VIEWS[1] if foreign else given.view,
        model=given.model,
        repository=given.repository.resolve(),
        payloads=given.payload or list(plan.payloads),
        natural_payload=not given.payload and given.model not in {"identity", "sized", "work"},
        request=given.request,
        wish=_wish(given),
        concurrency=given.concurrency,
        rates=given.rate or [],
        loads=given.load,
        closed=given.closed,
        goal_ms=given.goal,
        networks=list(dict.fromkeys(given.network)),
        tls=given.tls,
        arms=_arms(given, plan.arms),
        blocks=given.blocks or plan.blocks,
        turns=given.turns or plan.turns,
        seconds=given.seconds or plan.seconds,
        seed=given.seed,
        thorough=given.thorough,
        rest=given.rest,
        grpc=given.grpc,
        out=out,
        fail_if=_rules(given.fail_if),
        notes=list(getattr(given, "notes", [])),
        prices=Prices(given.price_vcpu_hour, given.price_gigabyte, given.utilisation),
    )
    _check_numbers(options)
    if options.request is not None and not options.request.is_file():
        raise UsageError(f"--request: the file '{options.request}' cannot be read")
    if not foreign:
        _check_repository(options)
    elif options.networks != [LOOPBACK]:
        raise UsageError(
            "--network needs services that the lab starts itself; it cannot put a network before --rest and --grpc"
        )
    _check_room(out)
    return options


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


def _rules(texts: Sequence[str]) -> list[Rule]:
    try:
        return [parse(text) for text in texts]
    except RuleError as error:
        raise UsageError(str(error)) from None


def _check_numbers(options: Options) -> None:
    goal = 1.0 if options.goal_ms is None else options.goal_ms
    limits = (
        ("--payload", min(options.payloads), 1, 512 << 20, max(options.payloads)),
        ("--concurrency", min(options.concurrency), 1, 1000, max(options.concurrency)),
        ("--rate", min(options.rates, default=1.0), 0.01, 100_000, max(options.rates, default=1.0)),
        ("--load", min(options.loads), 0.01, 0.95, max(options.loads)),
        ("--goal", goal, 0.01, 60_000, goal),
        ("--blocks", options.blocks, 1, 1000, options.blocks),
        ("--turns", options.turns, 1, 100, options.turns),
        ("--slice", options.seconds, 0.05, 600, options.seconds),
        ("--utilisation", options.prices.utilisation, 0.01, 1, options.prices.utilisation),
    )
    for name, smallest, low, high, largest in limits:
        if not low <= smallest <= largest <= high:
            raise UsageError(f"{name} takes values from {low:g} to {high:g}")


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


def _check_room(out: Path) -> None:
    """Refuse before measuring when what is measured could not be kept, or would be mixed with another run's."""
    if (out / "samples" / "experiment.json").exists():
        raise UsageError(f"--out: '{out}' holds a run already; give a folder that does not")
    existing = next(path for path in (out, *out.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < _ROOM_BYTES:
        raise UsageError(f"only {free >> 20} MB are free for '{out}'; a run needs {_ROOM_BYTES >> 20} MB")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "samples").mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: '{out}' cannot be written: {error.strerror}") from None
