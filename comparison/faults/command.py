"""`python -m comparison faults`: the same faults for every arm, in blocks; keep what was seen, and say what it shows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from crossover.comparison.commands import folder_of, refuse
from crossover.comparison.design.arms import ARMS, CONTROL, UnknownArmError, chosen
from crossover.comparison.faults import page, summary
from crossover.comparison.faults.events import EVENTS, LOSSY, well
from crossover.comparison.faults.server import Server
from crossover.comparison.faults.situation import overloaded, tried
from crossover.comparison.lab import wires as lab_wires
from crossover.comparison.machine import provenance
from crossover.comparison.network import hosts
from crossover.comparison.network.link import Link, LinkError
from crossover.protocol.errors import InferenceError
from crossover.stack.services import StartError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

OK, FAILED, USAGE = 0, 1, 2
ARM_NAMES = ("grpc", "rest-binary", "grpc-stock", "rest-stock")
BLOCKS, SECONDS = 4, 5.0
SAMPLES = "faults.json"


class FaultsUsageError(ValueError):
    """The command line asks for what cannot be done, in one sentence."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--arms", nargs="+", metavar="ARM", help=f"wires by the registry's names (default: {' '.join(ARM_NAMES)})")
    add("--events", nargs="+", choices=EVENTS, metavar="NAME", help=f"any of {', '.join(EVENTS)} (default: all)")
    add("--blocks", type=int, metavar="N", help=f"fresh starts of the service (default: {BLOCKS})")
    add("--seconds", type=float, metavar="S", help=f"how long each fault is looked at (default: {SECONDS:g})")
    add("--seed", type=int, default=1, help="of orders and losses (default: 1)")
    add("--out", type=Path, metavar="RUN", help="folder for the result (default: runs/TIME)")
    add(
        "--continue", dest="goes_on", type=Path, metavar="RUN", help="add --blocks blocks to a run, as it was asked for"
    )
    add("--json", action="store_true", help="print the summary as JSON")


def run(given: argparse.Namespace) -> int:
    """Exit codes: 0 as planned; 1 ended early; 2 cannot be done."""
    try:
        document, out = _continued(given) if given.goes_on else (_checked(given), folder_of(given))
    except FaultsUsageError as error:
        return refuse(str(error))
    if "loss" in document["events"]:
        if hosts.should_move([LOSSY.name]):
            reason = hosts.why_not()
            if not reason:
                return hosts.moved(given.arguments)
            _leave_out_loss(document, reason)
        hosts.arrive()
    if not document["events"]:
        return refuse("; ".join(document["notes"]))
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not given.goes_on and (out / SAMPLES).exists():
            return refuse(f"--out: '{out}' holds a run already; give a folder that does not, or --continue {out}")
        with (out / "services.log").open("ab") as log:
            code = _measure(document, out, log)
        origin = provenance.provenance(document["command"], document["seed"])
        (out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n")
    except OSError as error:
        return refuse(f"the run cannot be kept in '{out}': {error.strerror or error}")
    finish(out, as_json=given.json)
    return code


def finish(out: Path, *, as_json: bool = False) -> None:
    """Summary and report again from the kept situations."""
    document = json.loads((out / SAMPLES).read_text("utf-8"))
    seen = document.pop("seen")
    whole = {
        "schema": summary.SCHEMA,
        **document,
        "blocks_done": len({each["block"] for each in seen}),
        "rows": summary.rows(seen),
        "judgements": summary.judgements(seen),
    }
    text = json.dumps(whole, indent=1, allow_nan=False) + "\n"
    (out / "summary.json").write_text(text)
    (out / "report.html").write_text(page.html(whole), "utf-8")
    if as_json:
        sys.stdout.write(text)
    else:
        _show(whole, out)


def _checked(given: argparse.Namespace) -> dict[str, Any]:
    blocks, seconds = _blocks(given), SECONDS if given.seconds is None else given.seconds
    if not 1 <= seconds <= 600:
        raise FaultsUsageError("--seconds takes values from 1 to 600")
    try:
        arms = [arm.name for arm in chosen(given.arms or ARM_NAMES)]
    except UnknownArmError as error:
        raise FaultsUsageError(f"--arms: {error}") from None
    for arm in arms:
        if ARMS[arm].kind == "process" or arm == CONTROL or arm in {*lab_wires.UNIX_WIRES, *lab_wires.TLS_WIRES}:
            raise FaultsUsageError(
                f"arm '{arm}' does not go with faults, which happen to a plain TCP connection between processes"
            )
    return {
        "command": shlex.join(["python", "-m", "comparison", *given.arguments]), "arms": arms,
        "events": list(dict.fromkeys(given.events or EVENTS)), "blocks": blocks, "seconds": seconds, "seed": given.seed,
        "notes": [], "seen": [],
    }  # fmt: skip


def _blocks(given: argparse.Namespace) -> int:
    blocks = BLOCKS if given.blocks is None else int(given.blocks)
    if not 1 <= blocks <= 1000:
        raise FaultsUsageError("--blocks takes values from 1 to 1000")
    return blocks


def _continued(given: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """The run as it was asked for, with more blocks; one that was not finished begins anew."""
    for name in ("arms", "events", "seconds", "out"):
        if getattr(given, name) is not None:
            raise FaultsUsageError(f"--{name} does not go with --continue, which repeats what the run was asked for")
    try:
        document = dict(json.loads((given.goes_on / SAMPLES).read_text("utf-8")))
    except (OSError, ValueError):
        raise FaultsUsageError(f"--continue: '{given.goes_on}' holds no run of faults") from None
    whole = len(document["arms"]) * len(document["events"])
    done = {each["block"] for each in document["seen"]}
    done = {block for block in done if sum(each["block"] == block for each in document["seen"]) == whole}
    document["seen"] = [each for each in document["seen"] if each["block"] in done]
    document["blocks"] = len(done) + _blocks(given)
    return document, given.goes_on


def _leave_out_loss(document: dict[str, Any], reason: str) -> None:
    document["events"].remove("loss")
    document["notes"].append(f"loss: skipped, {reason}")


def _measure(document: dict[str, Any], out: Path, log: IO[bytes]) -> int:
    """Every situation of every block, kept as they come; each block has an order of its own."""
    lab_wires.register()
    first = len({each["block"] for each in document["seen"]})
    try:
        with contextlib.ExitStack() as stack:
            link = _link(document, stack) if "loss" in document["events"] else None
            for block in range(first, document["blocks"]):
                _measure_block(document, block, out, log, link)
    except (StartError, InferenceError) as error:
        print(f"The run ended early: {error}; the service's log is {out / 'services.log'}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("The run ended early: stopped", file=sys.stderr)
        return FAILED
    finally:
        _keep(document, out)
    return OK


def _link(document: dict[str, Any], stack: contextlib.ExitStack) -> Link | None:
    try:
        return stack.enter_context(Link())
    except LinkError as error:
        _leave_out_loss(document, str(error))
        return None


def _measure_block(document: dict[str, Any], block: int, out: Path, log: IO[bytes], link: Link | None) -> None:
    random = np.random.default_rng([document["seed"], block])
    situations = [(event, arm) for event in document["events"] for arm in document["arms"]]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(int(random.integers(2**32)), log))
        if link is not None:
            well(link, document["seed"])
        far = stack.enter_context(Server(int(random.integers(2**32)), log, link)) if link is not None else None
        overload = asyncio.run(overloaded(server.target)) if "overload" in document["events"] else None
        for index in random.permutation(len(situations)):
            event, arm = situations[index]
            found = asyncio.run(
                tried(
                    far if far is not None and event == "loss" else server, block, arm, event,
                    seconds=document["seconds"], seed=int(random.integers(2**31)), link=link,
                    overload=overload if event == "overload" else None,
                )
            )  # fmt: skip
            document["seen"].append(asdict(found))
            _keep(document, out)
            when = "never" if found.recovered_s is None else f"after {found.recovered_s:.2f} s"
            print(
                f"block {block + 1} of {document['blocks']}: {event}, {arm}: {found.calls} calls, "
                f"failed {sum(found.failed.values())}, wrong {found.wrong}, recovered {when}",
                file=sys.stderr, flush=True,
            )  # fmt: skip


def _keep(document: dict[str, Any], out: Path) -> None:
    new = out / f"{SAMPLES}.new"
    new.write_text(json.dumps(document, indent=1) + "\n")
    new.replace(out / SAMPLES)


def _show(whole: dict[str, Any], out: Path) -> None:
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=160)
    for event, what in EVENTS.items():
        found = [row for row in whole["rows"] if row["event"] == event]
        if found:
            console.print(_table(f"{event}: {what.says}", found))
    for each in whole["judgements"]:
        console.print(page.sentence(each), markup=False)
    for note in whole["notes"]:
        console.print(note, markup=False)
    console.print(f"{out / 'report.html'}", markup=False)


def _table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    table = Table("arm", *(name for _, name, _ in page.COLUMNS), "failed calls", title=title)
    for row in rows:
        figures = [
            " ".join(filter(None, (mean, f"({reach})" if reach else "")))
            for mean, reach in (page.cell(row, name, written) for name, _, written in page.COLUMNS)
        ]
        table.add_row(row["arm"], *figures, page.failures(row))
    return table
