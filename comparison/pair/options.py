"""The command line of `pair`, and the same in a file: a file's keys are the flags' names, without their dashes."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison import options as common
from crossover.comparison.analysis.failif import Test
from crossover.comparison.course import Course
from crossover.comparison.load.sockets import Tls, context
from crossover.comparison.network.profiles import LOOPBACK, NETWORKS
from crossover.comparison.options import UsageError
from crossover.comparison.pair import same, schema, services, sides, template
from crossover.comparison.pair.cases import Case
from crossover.comparison.pair.errors import PairError
from crossover.comparison.pair.exchange import Rules
from crossover.comparison.pair.forms import FORMS
from crossover.comparison.pair.reflection import Reflection
from crossover.comparison.pair.subject import ARMS, DEFAULT_ARMS, PAIRS, Pair, Processes, compared
from crossover.comparison.services import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.comparison.pair.schema import Schema
    from crossover.comparison.pair.sides import GrpcSide, RestSide

BLOCKS, TURNS, SECONDS, CONNECTIONS, LOAD = 6, 10, 0.125, 8, 0.3
_PATHS = ("data", "proto", "import-path", "protoset", "cacert", "cert", "key")
_JSON = frozenset({"grpc-data", "rest-data"})
"""Settings whose value may be any JSON."""
_CASE_KEYS = frozenset({"name", "weight", "grpc-data", "rest-data", "data", "rest"})
_MOST_CASES = 32


@dataclass(frozen=True, slots=True)
class Asked:
    """A parsed command line and what only a file can say."""

    given: argparse.Namespace
    cases: tuple[dict[str, Any], ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `pair`."""
    add = parser.add_argument
    add(
        "what",
        nargs="?",
        metavar="FILE.yaml | init | twin",
        help="a pair in a file; `init` writes one from server reflection; `twin` compares one service with what it would be "
        "over the other wire: --rest 'METHOD URL' --data FILE, or --grpc HOST:PORT --call M --grpc-data JSON",
    )
    sides_group = parser.add_argument_group("the two services").add_argument
    sides_group("--grpc", metavar="HOST:PORT", help="gRPC service (also [IPv6]:PORT, unix:PATH, grpcs://HOST:PORT)")
    sides_group("--call", metavar="pkg.Service/Method", help="its method")
    sides_group("--grpc-data", metavar="JSON", help="request in proto3 JSON, a template; @FILE reads a file")
    sides_group("--rest", metavar="'METHOD URL'", help="HTTP endpoint; the URL is a template")
    sides_group("--rest-data", metavar="JSON", help="request body, a template; @FILE sends a file as it is")
    sides_group("--unix-socket", metavar="PATH", help="the HTTP service listens there")
    sides_group("--data", metavar="FILE", help="rows for the templates: JSON lines, or CSV with a header")
    sides_group(
        "--proto", action="append", metavar="FILE", help="the method's .proto file (default: server reflection)"
    )
    sides_group("--import-path", action="append", metavar="DIR", help="where .proto files import from")
    sides_group("--protoset", action="append", metavar="FILE", help="a FileDescriptorSet instead")
    sides_group("-H", "--header", action="append", metavar="'Name: value'", help="for both; ${ENV} is replaced")
    sides_group("--grpc-header", action="append", metavar="'Name: value'", help="metadata of the calls")
    sides_group("--rest-header", action="append", metavar="'Name: value'", help="headers of the requests")
    sides_group("--cacert", metavar="FILE", help="certificate authority of the services (PEM)")
    sides_group("--cert", metavar="FILE", help="client certificate (PEM)")
    sides_group("--key", metavar="FILE", help="its key (PEM)")
    sides_group("--servername", metavar="NAME", help="name in the services' certificate")
    sides_group("--insecure", action="store_true", help="do not verify the services' certificates")
    sides_group("--timeout", metavar="SECONDS", help="of a call: 5, 500ms, 1m (default: 15)")
    sides_group(
        "--stream",
        action="store_true",
        help="the method answers with a stream of messages, the endpoint with lines of JSON or with server-sent events",
    )
    same_group = parser.add_argument_group("when answers are right").add_argument
    same_group(
        "--same", action="append", metavar="RULE", help="'grpc.path == rest.path', or oip (default: whole replies)"
    )
    same_group("--tolerance", type=float, metavar="SHARE", help="by how much numbers may differ (default: 0)")
    same_group("--expect-status", type=int, metavar="CODE", help="HTTP status (default: any 2xx)")
    same_group("--expect-code", metavar="NAME", help="gRPC status code (default: OK)")
    same_group("--dry-run", action="store_true", help="one call each: show both replies and what differs, and stop")
    seen = parser.add_argument_group("the services' processes").add_argument
    seen("--pid-grpc", type=int, metavar="PID", help="its CPU time, memory and bytes are counted")
    seen("--pid-rest", type=int, metavar="PID")
    seen("--start-grpc", metavar="CMD", help="start the service with this command, anew for every block")
    seen("--start-rest", metavar="CMD")
    seen("--ready", action="append", metavar="tcp|http:PATH|grpc-health", help="when a started service is ready")
    twin = parser.add_argument_group("twin").add_argument
    twin("--openapi", metavar="FILE", help="what an OpenAPI document says of the endpoint, beside what is recorded")
    twin(
        "--allow-unsafe",
        action="store_true",
        help="the service may be asked once a row though the call may change something",
    )
    twin("--language", default="python", choices=("python", "node"), help="of the replaying servers (default: python)")
    load = parser.add_argument_group("load and result").add_argument
    load("--rate", type=float, nargs="+", metavar="RPS", help="open-loop requests per second (default: by --load)")
    load(
        "--load",
        type=float,
        nargs="+",
        metavar="SHARE",
        help=f"share of the slowest arm's capacity (default: {LOAD:g})",
    )
    load("--closed", action="store_true", help="closed loop: every connection sends when it has its answer")
    load("--connections", type=int, nargs="+", metavar="N", help=f"of each side (default: {CONNECTIONS})")
    load(
        "--goal",
        type=float,
        metavar="MS",
        help="also search the rate at which 95 %% are answered within MS milliseconds",
    )
    load(
        "--network",
        nargs="+",
        choices=NETWORKS,
        metavar="PROFILE",
        help="with --start-*: networks between load and services",
    )
    load(
        "--arms",
        nargs="+",
        metavar="ARM",
        help=f"any of {', '.join(ARMS)} (default: all but those that not every service offers, which --dry-run tells: "
        f"{', '.join(FORMS)})",
    )
    load("--blocks", type=int, metavar="N", help=f"rounds; with --start-* fresh starts (default: {BLOCKS})")
    load("--turns", type=int, metavar="N", help=f"slices of each arm in a block and case (default: {TURNS})")
    load("--slice", type=float, dest="seconds", metavar="SECONDS", help=f"length of a slice (default: {SECONDS:g})")
    load("--seed", type=int, default=1, help="of schedules, rows and orders (default: 1)")
    load("--thorough", action="store_true", help="judge the tail too (p90, p99)")
    load("--out", type=Path, metavar="DIR", help="folder of the result (default: runs/<UTC time>); with init, the file")
    common.add_generators_argument(parser)
    common.add_continue_argument(parser)
    common.add_result_arguments(parser)


def asked(given: argparse.Namespace, arguments: Sequence[str], parser: argparse.ArgumentParser) -> Asked:
    """The command line, with what the file says where one is named."""
    if given.what is None:
        return Asked(given)
    path = Path(given.what)
    document = _document(path)
    cases = _cases_in(document, path)
    from_file = _as_arguments(document, path, parser)
    rest = list(arguments)
    rest.remove(given.what)
    return Asked(parser.parse_args([*from_file, *rest]), cases)


def _document(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"pair: there is no file '{path}'") from None
    except OSError as error:
        raise UsageError(f"pair: the file '{path}' cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"pair: the file '{path}' is not UTF-8 text") from None
    except RecursionError:
        raise UsageError(f"pair: '{path}' is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        raise UsageError(f"pair: '{path}' is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise UsageError(f"pair: '{path}' holds no names and values; `pair init` writes such a file")
    return found


def _cases_in(document: dict[str, Any], path: Path) -> tuple[dict[str, Any], ...]:
    found = document.pop("cases", None)
    if found is None:
        return ()
    if not isinstance(found, list) or not found or not all(isinstance(case, dict) for case in found):
        raise UsageError(f"pair: 'cases' in '{path}' is a list of cases, each with a name")
    if len(found) > _MOST_CASES:
        raise UsageError(f"pair: '{path}' has {len(found)} cases; at most {_MOST_CASES} are compared")
    for number, case in enumerate(found, 1):
        if unknown := case.keys() - _CASE_KEYS:
            raise UsageError(
                f"pair: case {number} in '{path}' has '{min(map(str, unknown))}'; a case has {', '.join(sorted(_CASE_KEYS))}"
            )
        if not isinstance(case.get("data", ""), str):
            raise UsageError(f"pair: 'data' of case {number} in '{path}' is the name of a file")
        if "data" in case:
            case["data"] = _beside(path, case["data"])
        for name in ("grpc-data", "rest-data"):
            if case.get(name) is not None:
                case[name] = _text(case[name], name, path)
    return tuple(found)


def _as_arguments(document: dict[str, Any], path: Path, parser: argparse.ArgumentParser) -> list[str]:
    known = {option: action for action in parser._actions for option in action.option_strings}
    found: list[str] = []
    for key, value in document.items():
        option = f"--{str(key).replace('_', '-')}"
        action = known.get(option)
        if action is None or (option in {"--help", "--header"} and option != "--header"):
            raise UsageError(
                f"pair: '{key}' in '{path}' is no setting; a file's keys are the flags' names: pair --help"
            )
        name = option[2:]
        if action.nargs == 0:
            if not isinstance(value, bool):
                raise UsageError(f"pair: '{key}' in '{path}' is true or false")
            found += [option] * value
            continue
        listed = isinstance(value, list) and name not in _JSON
        values = [_text(item, name, path) for item in (value if listed else [value])]
        if len(values) != 1 and not (action.nargs == "+" and values) and not isinstance(action, argparse._AppendAction):
            raise UsageError(f"pair: '{key}' in '{path}' takes one value, not {len(values)}")
        if action.nargs == "+":
            found += [option, *values]
        else:
            found += [f"{option}={item}" for item in values]
    return found


def _text(value: Any, name: str, path: Path) -> str:
    if value is None:
        raise UsageError(f"pair: '{name}' in '{path}' has no value")
    if name in _PATHS and isinstance(value, str):
        return _beside(path, value)
    if isinstance(value, str):
        if name in _JSON and value.startswith("@"):
            return "@" + _beside(path, value[1:])
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        raise UsageError(f"pair: '{name}' in '{path}' holds what JSON has not; write a date in quotes") from None


def _beside(path: Path, name: str) -> str:
    """A file that is named in a file is looked for beside it first."""
    near = path.parent / name
    return str(near) if near.exists() else name


def tls_of(given: argparse.Namespace) -> Tls | None:
    """What the flags of TLS say; None when there are none."""
    if given.key and not given.cert:
        raise UsageError("--key goes with --cert")
    if not (given.cacert or given.cert or given.servername or given.insecure):
        return None
    found = Tls(given.cacert, given.cert, given.key, given.servername, given.insecure)
    try:
        context(found)
    except OSError as error:
        raise UsageError(str(error)) from None
    return found


def both_sides(given: argparse.Namespace) -> tuple[GrpcSide, RestSide]:
    """The two services, as they are to be spoken to."""
    tls, timeout, shared = tls_of(given), seconds_of(given.timeout), list(given.header or [])
    body = given.rest_data is not None
    rest = sides.rest_side(
        given.rest, shared + list(given.rest_header or []), tls, timeout, has_body=body, unix_socket=given.unix_socket
    )
    grpc = sides.grpc_side(given.grpc, shared + list(given.grpc_header or []), tls, timeout, given.servername)
    return _with_tls_as_found(given.grpc, grpc, tls, secure=rest.address.tls is not None), rest


def _with_tls_as_found(target: str, side: GrpcSide, tls: Tls | None, *, secure: bool) -> GrpcSide:
    """Where a target says nothing of TLS and something else does, the service itself is asked."""
    if "://" in target or not (tls or secure):
        return side
    speaks = sides.speaks_tls(side.address)
    if speaks is None:
        return side
    chosen = replace(tls or Tls(), alpn=("h2",)) if speaks else None
    return replace(side, address=replace(side.address, tls=chosen))


def seconds_of(text: str | None) -> float:
    """A time: 5, 5s, 500ms, 1m."""
    if text is None:
        return 15.0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)?", str(text).strip())
    found = float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}[match[2]] if match else 0.0
    if not 0.001 <= found <= 3600:
        raise UsageError(f"--timeout takes a time from 1ms to 60m, as 5, 500ms or 1m; not '{text}'")
    return found


def schema_of(given: argparse.Namespace, grpc: Callable[[], GrpcSide]) -> Schema:
    """The method's schema, from where the flags say."""
    if given.proto and given.protoset:
        raise UsageError("--proto and --protoset both describe the method; give one of them")
    if given.import_path and not given.proto:
        raise UsageError("--import-path goes with --proto")
    if given.protoset:
        found = schema.from_protoset(given.protoset, given.call)
    elif given.proto:
        found = schema.from_proto(given.proto, given.import_path or [], given.call)
    else:
        found = Reflection(grpc()).schema(given.call)
    if found.stream and not given.stream:
        raise UsageError(
            f"{found.service}/{found.method} answers with a stream of messages; --stream compares it with an endpoint that "
            "answers with lines of JSON or server-sent events"
        )
    if given.stream and not found.stream:
        raise UsageError(f"--stream: {found.service}/{found.method} answers with one message, not with a stream")
    return found


def needed(given: argparse.Namespace, *names: str) -> None:
    """UsageError for an option that is missing or empty."""
    for name in names:
        if not (getattr(given, name.replace("-", "_")) or "").strip():
            raise UsageError(
                f"pair needs --{name}: --grpc HOST:PORT --call pkg.Service/Method --rest 'METHOD URL', "
                "or a file that `pair init` writes"
            )


def cases_of(asked: Asked, target: str) -> tuple[Case, ...]:
    """The cases, filled up with what all have in common."""
    given = asked.given
    if not asked.cases:
        return (_case({}, given, target, ""),)
    names = [str(case.get("name", f"case {number}")) for number, case in enumerate(asked.cases, 1)]
    if len(set(names)) < len(names):
        raise UsageError("pair: two cases have the same name")
    return tuple(_case(case, given, target, name) for case, name in zip(asked.cases, names, strict=True))


def _case(case: dict[str, Any], given: argparse.Namespace, target: str, name: str) -> Case:
    where = f" of case '{name}'" if name else ""
    grpc_data = _as_text(case.get("grpc-data", given.grpc_data), f"--grpc-data{where}")
    rest_data = case.get("rest-data", given.rest_data)
    body: str | bytes | None = None
    if isinstance(rest_data, str) and rest_data.startswith("@"):
        body = template.bytes_of_file(rest_data[1:], f"--rest-data{where}")
        if b"{{" in body:
            with contextlib.suppress(UnicodeDecodeError):  # what is no text holds no places, whatever its bytes are
                body = body.decode("utf-8")
    elif rest_data is not None:
        body = _as_text(rest_data, f"--rest-data{where}")
    data = case.get("data", given.data)
    rows: list[template.Row] = template.rows(Path(data)) if data else [{}]
    weight = case.get("weight", 1)
    if not isinstance(weight, int | float) or isinstance(weight, bool) or not (math.isfinite(weight) and weight > 0):
        raise UsageError(f"pair: the weight{where} is a number above 0, not {weight!r}")
    if "rest" in case:
        target = sides.rest_side(str(case["rest"]), [], None, 1.0, has_body=body is not None).target
    return Case(name, float(weight), grpc_data, body, target, tuple(rows[: template.MOST_ROWS]))


def _as_text(value: Any, where: str) -> str:
    if value is None:
        return "{}"
    return template.text_of(value, where) if isinstance(value, str) else json.dumps(value)


def pair_of(asked: Asked) -> Pair:
    """What is compared; PairError and UsageError for what cannot be. Asks for reflection where nothing else describes
    the method; services that are still to be started must be described by --proto or --protoset.
    """
    given = asked.given
    needed(given, "grpc", "call", "rest")
    grpc, rest = both_sides(given)
    processes = _processes(given)
    rules_same = same.parsed(given.same or [], given.tolerance or 0.0)
    code = _code(given.expect_code)
    if given.expect_status is not None and not 100 <= given.expect_status <= 599:
        raise UsageError(f"--expect-status takes an HTTP status, not {given.expect_status}")
    cases = cases_of(asked, rest.target)
    found = _described(given, grpc, processes)
    rules = Rules(found, rules_same, code, given.expect_status)
    return Pair(grpc, rest, rules, cases, processes, mix=any("weight" in case for case in asked.cases))


def _described(given: argparse.Namespace, grpc: GrpcSide, processes: Processes) -> Schema:
    """The schema; a service that is started for each block is started once more to be asked for it."""
    command = processes.commands.get("grpc")
    if command is None or given.proto or given.protoset:
        return schema_of(given, lambda: grpc)
    with scratch.folder() as folder:
        if services.is_taken(grpc.address):
            raise PairError(
                f"--start-grpc: somebody listens at {grpc.address} already; stop that or leave the flag out"
            )
        started = services.Started("gRPC", command, Path(folder, "log"))
        try:
            started.await_ready(services.Ready("tcp"), grpc)
            return schema_of(given, lambda: grpc)
        finally:
            started.stop()


def _code(text: str | None) -> str:
    if text is None:
        return "OK"
    name = sides.CODES[int(text)] if text.isdigit() and int(text) < len(sides.CODES) else text.upper()
    if name not in sides.CODES:
        raise UsageError(f"--expect-code takes one of {', '.join(sides.CODES)}; '{text}' is none")
    return name


def _processes(given: argparse.Namespace) -> Processes:
    pids = {side: pid for side, pid in (("grpc", given.pid_grpc), ("rest", given.pid_rest)) if pid is not None}
    commands = {side: cmd for side, cmd in (("grpc", given.start_grpc), ("rest", given.start_rest)) if cmd is not None}
    for side in pids.keys() & commands.keys():
        raise UsageError(f"--pid-{side} and --start-{side} both say which process it is; give one of them")
    for side, pid in pids.items():
        services.check_pid(f"--pid-{side}", pid)
    for side, command in commands.items():
        if not command.strip():
            raise UsageError(f"--start-{side} is empty")
    if given.ready and not commands:
        raise UsageError("--ready goes with --start-grpc or --start-rest")
    if len(pids) + len(commands) == 1:
        (known,) = {**pids, **commands}
        other = "rest" if known == "grpc" else "grpc"
        raise UsageError(
            f"the CPU of one side says nothing without the other's: give --pid-{other} or --start-{other} too"
        )
    return Processes(pids, commands, tuple(services.ready_of(given.ready or [])))


def course_of(asked: Asked, pair: Pair, out: Path) -> Course:
    """How the run goes; UsageError for numbers and combinations that cannot be."""
    given = asked.given
    common.check_loop(given)
    check_network(given)
    networks = list(dict.fromkeys(given.network or [LOOPBACK]))
    names = list(dict.fromkeys(given.arms or DEFAULT_ARMS))
    for name in names:
        if name not in ARMS:
            raise UsageError(f"--arms: '{name}' is not an arm of a pair; choose from {', '.join(ARMS)}")
        if pair.rules.schema.stream and name in FORMS and FORMS[name].answer:
            raise UsageError(f"--arms: '{name}' does not go with --stream: it asks for one message")
    if not compared(names):
        pairs = ", ".join(" ".join(pair) for pair in PAIRS)
        raise UsageError(f"--arms {' '.join(names)} leaves nothing to compare; name two that are compared: {pairs}")
    course = Course(
        out=out,
        view="pair",
        arms=[ARMS[name] for name in names],
        networks=networks,
        concurrency=given.connections or [CONNECTIONS],
        rates=given.rate or [],
        loads=given.load or [LOAD],
        closed=given.closed,
        goal_ms=given.goal,
        blocks=BLOCKS if given.blocks is None else given.blocks,
        turns=TURNS if given.turns is None else given.turns,
        seconds=SECONDS if given.seconds is None else given.seconds,
        seed=given.seed,
        thorough=given.thorough,
        tls=bool(pair.grpc.address.tls or pair.rest.address.tls),
        fail_if=common.rules(given.fail_if),
        prices=common.prices(given),
        notes=[*getattr(given, "notes", []), *_notes(asked, pair)],
        goes_on=given.goes_on is not None,
        outputs=common.outputs_of(given),
        generators=given.generators,
    )
    _check_cpu_rules(course, pair.processes)
    common.check_course(course)
    return course


def _check_cpu_rules(course: Course, processes: Processes) -> None:
    """UsageError for a rule on the services' CPU where nobody says which processes they are."""
    for rule in course.fail_if:
        if not processes.known and any(test == Test("metric", "=", "cpu") for test in (*rule.tests, *rule.where)):
            raise UsageError(
                f"--fail-if '{rule.text}' needs the services' CPU: give --pid-grpc and --pid-rest, or --start-grpc and --start-rest"
            )


def check_network(given: argparse.Namespace) -> None:
    """UsageError where a network cannot be put before the services: they run on this host already."""
    networks = given.network or [LOOPBACK]
    if any(name != LOOPBACK for name in networks) and not (given.start_grpc and given.start_rest):
        raise UsageError("--network needs services that the lab starts itself: give --start-grpc and --start-rest")


def _notes(asked: Asked, pair: Pair) -> list[str]:
    found = []
    for case in pair.cases:
        data = asked.given.data
        if data and len(case.rows) == template.MOST_ROWS and len(template.rows(Path(data))) > template.MOST_ROWS:
            found.append(f"the first {template.MOST_ROWS} rows of '{data}' were used")
            break
    texts = " ".join(f"{case.grpc_data} {case.rest_data!r} {case.rest_target}" for case in pair.cases)
    if asked.given.data and not template.places(texts):
        found.append("no {{name}} stands in the templates, so that every row of --data asks for the same")
    return found
