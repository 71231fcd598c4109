"""`pair twin`: record one service, write the contract that it lacks, replay it over both wires, and say what a switch moves."""

from __future__ import annotations

import json
import shlex
import socket
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison import commands
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.options import UsageError
from crossover.comparison.pair import schema, sides
from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.twin import record, recording, replay_node
from crossover.comparison.pair.twin.shapes import Contract, Shape, method_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from crossover.comparison.pair.schema import Schema
    from crossover.comparison.pair.twin.recording import Recorded, Route

PACKAGE, SERVICE = "twin.v1", "Twin"
NODE = "node"
_MESSAGE, _BODY = "grpc_message", "http_body"
_LOAD = (
    "rate", "load", "closed", "connections", "goal", "network", "arms", "blocks", "turns", "seconds", "seed", "thorough",
    "fail_if", "markdown", "junit", "price_vcpu_hour", "price_gigabyte", "utilisation", "dry_run",
)  # fmt: skip
"""What a twin's user may say of the run."""
_RECORDS = (
    "what", "grpc", "call", "grpc_data", "rest", "rest_data", "unix_socket", "data", "proto", "import_path", "protoset",
    "header", "grpc_header", "rest_header", "cacert", "cert", "key", "servername", "insecure", "timeout", "openapi",
    "allow_unsafe", "language", "out", "help",
)  # fmt: skip
"""What it may say of the service."""
CANNOT_KNOW = (
    "how much of the service's time its own protocol takes today: all of what was recorded is replayed on both sides",
    "what the service would take under load: its time is replayed as a wait, without its CPU, its locks or its database",
    "your callers' language and libraries: encoding and decoding are those of Python's protobuf and json",
    "proxies, TLS and the network between your callers and the service: the twin runs on this host without them",
)


def run(parser: argparse.ArgumentParser, given: argparse.Namespace, pair: Callable[[argparse.Namespace], int]) -> int:
    """Record, replay, measure with `pair`, and conclude; the exit code is that of the measuring."""
    out = commands.folder_of(given)
    return commands.refusing(lambda: _twin(parser, given, out, pair), out)


def _twin(
    parser: argparse.ArgumentParser, given: argparse.Namespace, out: Path, pair: Callable[[argparse.Namespace], int]
) -> int:
    _check(parser, given)
    folder = out / "twin"
    if (folder / "recording.jsonl").exists():
        raise UsageError(f"--out: '{out}' holds a twin already; give a folder that does not")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: '{out}' cannot be written: {error.strerror}") from None
    described, route, recorded = _recorded(given, folder)
    call = f"{described.service}/{described.method}"
    (folder / "twin.protoset").write_bytes(described.files)
    recording.write(folder, route, call, recorded)
    if given.grpc:
        from crossover.comparison.pair.twin import replay_rest

        (folder / "openapi.json").write_text(json.dumps(replay_rest.application(folder).openapi(), indent=1) + "\n")
    if given.language == NODE:
        replay_node.write(folder)
    _write_pair(folder, given, call, route, recorded)
    today = statistics.median(statistics.median(one.latency_ms) for one in recorded)
    calls = sum(len(one.latency_ms) for one in recorded)
    print(
        f"Recorded {calls} calls of {len(recorded)} rows, one at a time: their median is {today:.3g} ms. "
        f"The contract is in {folder / ('openapi.json' if given.grpc else 'twin.proto')}."
    )
    arguments = ["pair", str(folder / "pair.yaml"), "--out", str(out), *_load_of(parser, given)]
    again = parser.parse_args(arguments[1:])
    again.arguments = arguments
    code = pair(again)
    if given.dry_run or not (out / "summary.json").exists():
        return code
    conclusion = concluded(json.loads((out / "summary.json").read_text()), today, "grpc" if given.grpc else "rest")
    (out / "twin.json").write_text(json.dumps(conclusion, indent=1) + "\n")
    print("", *conclusion["sentences"], "What a twin cannot know:", sep="\n")
    print(*(f"  - {text}" for text in CANNOT_KNOW), sep="\n")
    return code


def _check(parser: argparse.ArgumentParser, given: argparse.Namespace) -> None:
    if bool(given.grpc) == bool(given.rest):
        raise UsageError("pair twin needs one service: --rest 'METHOD URL', or --grpc HOST:PORT with --call")
    if given.grpc and not given.call:
        raise UsageError("pair twin --grpc needs --call pkg.Service/Method")
    if given.openapi and given.grpc:
        raise UsageError("--openapi describes an HTTP endpoint; with --grpc the contract is the method's own")
    if given.language == NODE:
        replay_node.check()
    if not given.data and given.rest and given.rest_data is None and "{{" in given.rest:
        raise UsageError("pair twin: the URL has places for a row's values; give --data FILE")
    wrong = {"call", "grpc_data", "proto", "import_path", "protoset", "grpc_header"} if given.rest else {"rest_data"}
    allowed = {*_LOAD, *_RECORDS} - wrong
    for action in parser._actions:
        if action.dest not in allowed and getattr(given, action.dest, action.default) != action.default:
            name = action.option_strings[-1] if action.option_strings else action.dest
            raise UsageError(f"{name} does not go with pair twin, which starts both of its services itself")


def _recorded(given: argparse.Namespace, folder: Path) -> tuple[Schema, Route, list[Recorded]]:
    if given.grpc:
        return record.from_grpc(given)
    route, recorded = record.from_rest(given)
    asked, answered = Shape(), Shape()
    for one in recorded:
        asked.see(one.message)
        answered.see(one.reply_message)
    if given.openapi:
        _see_openapi(Path(given.openapi), route, asked, answered)
    contract = Contract(PACKAGE, SERVICE, method_name(route.path))
    path = folder / "twin.proto"
    path.write_text(contract.text(asked, answered))
    return schema.from_proto([str(path)], [], contract.call), route, recorded


def _see_openapi(path: Path, route: Route, asked: Shape, answered: Shape) -> None:
    """Add what an OpenAPI document says of the operation's bodies."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"--openapi: '{path}' cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UsageError(f"--openapi: '{path}' is neither JSON nor YAML") from None
    operation = _operation(document, route)
    if operation is None:
        raise UsageError(f"--openapi: '{path}' has no operation {route.method} {route.path}")
    responses = operation.get("responses") or {}
    reply = responses.get(str(route.status)) or responses.get(route.status) or responses.get("2XX") or {}
    for part, shape in ((operation.get("requestBody") or {}, asked), (reply, answered)):
        described = (part.get("content") or {}).get("application/json", {}).get("schema")
        if described is not None and shape.fields.keys() != {recording.WHOLE}:
            shape.see_schema(described, document)


def _operation(document: Any, route: Route) -> dict[str, Any] | None:
    """The operation whose path fits, with whatever prefix its servers have."""
    paths = document.get("paths") if isinstance(document, dict) else None
    wanted = route.path.strip("/").split("/")
    for path, item in (paths or {}).items():
        parts = str(path).strip("/").split("/")
        here = wanted[-len(parts) :]
        if len(here) == len(parts) and all(
            part == own or part.startswith("{") for part, own in zip(parts, here, strict=True)
        ):
            found = item.get(route.method.lower()) if isinstance(item, dict) else None
            if isinstance(found, dict):
                return found
    return None


def _write_pair(folder: Path, given: argparse.Namespace, call: str, route: Route, recorded: list[Recorded]) -> None:
    """The pair as a file that anybody can run again."""
    for one in recorded:
        if {_MESSAGE, _BODY} & one.row.keys():
            raise PairError(f"pair twin: the rows may not have a field '{_MESSAGE}' or '{_BODY}'")
    with (folder / "rows.jsonl").open("w") as file:
        file.writelines(
            json.dumps({**one.row, _MESSAGE: one.message, _BODY: one.body}, ensure_ascii=False) + "\n"
            for one in recorded
        )
    host = "127.0.0.1" if (given.network or [LOOPBACK]) == [LOOPBACK] else "0.0.0.0"  # noqa: S104 - compared, or asked for
    grpc, rest = _free_port(), _free_port()
    target = _template_target(given, route)
    document: dict[str, Any] = {
        "grpc": f"127.0.0.1:{grpc}",
        "call": call,
        "grpc-data": f"{{{{{_MESSAGE}}}}}",
        "rest": f"{route.method} http://127.0.0.1:{rest}{target}",
        "data": "rows.jsonl",
        "protoset": "twin.protoset",
        "start-grpc": _command(given.language, "replay_grpc", folder, f"{host}:{grpc}"),
        "start-rest": _command(given.language, "replay_rest", folder, f"{host}:{rest}"),
    }
    if route.has_body:
        quote = '"' if all(isinstance(one.body, str) for one in recorded) else ""
        document["rest-data"] = f"{quote}{{{{{_BODY}}}}}{quote}"
    if any(not isinstance(one.reply, dict | None) for one in recorded):
        document["same"] = f"grpc.{recording.WHOLE} == rest"
    (folder / "pair.yaml").write_text(json.dumps(document, indent=1) + "\n")


def _template_target(given: argparse.Namespace, route: Route) -> str:
    """Path and query with their places."""
    if given.grpc:
        return route.path

    return sides.rest_side(given.rest, [], None, 1.0, has_body=route.has_body).target


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(language: str, server: str, folder: Path, listen: str) -> str:
    program = (
        ["node", str(replay_node.HERE / f"{server}.js")]
        if language == NODE
        else [sys.executable, "-m", f"crossover.comparison.pair.twin.{server}"]
    )
    return shlex.join([*program, str(folder.resolve()), "--listen", listen])


def _load_of(parser: argparse.ArgumentParser, given: argparse.Namespace) -> list[str]:
    """The flags of the run, as they were given."""
    found: list[str] = []
    for action in parser._actions:
        value = getattr(given, action.dest, action.default)
        if action.dest not in _LOAD or value == action.default:
            continue
        option = action.option_strings[-1]
        if action.nargs == 0:
            found.append(option)
        elif action.nargs == "+":
            found += [option, *map(str, value)]
        else:
            found += [f"{option}={item}" for item in (value if isinstance(value, list) else [value])]
    return found


def concluded(summary: dict[str, Any], today_ms: float, side: str) -> dict[str, Any]:
    """What a switch from `side` to the other wire would move, in sentences and numbers.

    Differences are [low, estimate, high]: of the median with what encoding and decoding take a client, in ms, and of the
    service's CPU for a request, in us; None where the run cannot say it.
    """
    sign = -1 if side == "grpc" else 1
    other = "REST" if side == "grpc" else "gRPC"
    moved = {metric: _moved(summary, metric, sign) for metric in ("p50", "cpu", "client_cpu")}
    latency, cpu, client = moved["p50"], moved["cpu"], moved["client_cpu"]
    sentences = [
        f"A switch to {other} would move today's median of {today_ms:.3g} ms by {_said(latency, 'ms')}"
        + (f", {latency[1] / today_ms:+.1%}." if latency and today_ms else ".")
    ]
    sentences.append(f"It would move the CPU of encoding, serving and decoding in the service by {_said(cpu, 'us')} a request"
                     f" and the caller's by {_said(client, 'us')}.")  # fmt: skip
    return {
        "today": side,
        "today_ms": today_ms,
        "moved_ms": latency,
        "moved_cpu_us": cpu,
        "moved_client_cpu_us": client,
        "sentences": sentences,
        "cannot_know": list(CANNOT_KNOW),
        "complete": summary.get("complete"),
    }


def _moved(summary: dict[str, Any], metric: str, sign: int) -> list[float] | None:
    """The difference gRPC less REST, turned so that it says what a switch moves."""
    for pair in (["grpc-client", "rest-client"], ["grpc", "rest"]):
        for cell in summary["cells"]:
            if cell["pair"] != pair or cell["metric"] != metric or cell["withheld"]:
                continue
            if cell["ratio"] is not None and cell["difference"]:
                return sorted(sign * float(value) for value in cell["difference"])
    return None


def _said(found: list[float] | None, unit: str) -> str:
    if found is None:
        return "an amount that this run cannot say"
    doubt = ", which may be nothing" if found[0] <= 0 <= found[2] else ""
    return f"{found[1]:+.3g} {unit} ({found[0]:+.3g} to {found[2]:+.3g}{doubt})"
