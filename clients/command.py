"""The clients' command: calls from the shell, over any wire."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from crossover import VERSION
from crossover.clients import addresses
from crossover.clients.cli_commands import COMMANDS
from crossover.protocol.errors import InferenceError
from crossover.protocol.wires import WIRES, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DESCRIPTION = "Call a model server, or with --rest the gateway, from the shell."
EPILOG = "Without --grpc and --rest, the addresses are those of MODEL_SERVER_HOST, MODEL_SERVER_GRPC_PORT and MODEL_SERVER_HTTP_PORT."


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one sentence."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; --help tells more", file=sys.stderr)
        sys.exit(2)


def parser(program: str) -> argparse.ArgumentParser:
    top = Parser(prog=program, description=DESCRIPTION, epilog=EPILOG, parents=[_where()])
    top.add_argument("--version", action="version", version=f"crossover {VERSION}")
    commands = top.add_subparsers(dest="command", required=True, metavar="infer|models|health", parser_class=Parser)
    infer = commands.add_parser("infer", help="run a model", parents=[_where(argparse.SUPPRESS)])
    infer.add_argument("model")
    _add_wire(infer, "all")
    infer.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="[NAME=]VALUE",
        help="JSON, @file.json, @file.npy or @request.json",
    )
    infer.add_argument("--sample", type=int, default=0, metavar="N", help="without --input: the model's sample N (0)")
    infer.add_argument("--version", default="", metavar="V", help="a model version; default: the highest that is ready")
    infer.add_argument(
        "--calls", type=_positive, default=200, metavar="N", help="calls of each row with --wire all (200)"
    )
    for name, text in (("models", "list models and their states"), ("health", "is the service ready?")):
        _add_wire(commands.add_parser(name, help=text, parents=[_where(argparse.SUPPRESS)]))
    return top


def _where(default: str | None = None) -> Parser:
    """Flags that may stand before or after the command; those after it have no defaults that would undo those before."""
    shared = Parser(add_help=False, argument_default=default)
    usual = addresses.usual()
    given = {} if default else {**usual, "timeout": 10.0}
    shared.add_argument("--grpc", metavar="HOST:PORT", help=f"gRPC service ({usual['grpc']})")
    shared.add_argument("--rest", metavar="URL", help=f"REST service ({usual['rest']})")
    shared.add_argument("--ca", type=Path, metavar="FILE", help="PEM authorities of the service's certificate (TLS)")
    shared.add_argument("--api-key-file", type=Path, metavar="FILE", help="file with the API key to send")
    shared.add_argument("--cert", type=Path, metavar="FILE", help="PEM certificate to show the service, with --key")
    shared.add_argument("--key", type=Path, metavar="FILE", help="PEM private key of that certificate")
    shared.add_argument("--timeout", type=_seconds, metavar="SECONDS", help="time for each call (10)")
    shared.set_defaults(**given)
    return shared


def _add_wire(command: argparse.ArgumentParser, *more: str) -> None:
    names = [*WIRES, *more]
    text = ", ".join(WIRES) + ("; all: a row for each" if more else "")
    command.add_argument("--wire", default="grpc", choices=names, metavar="WIRE", help=text)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"'{text}' is not an integer, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")
    return value


def _key(path: Path | None) -> Callable[[], str] | None:
    return None if path is None else lambda: path.read_text("ascii").strip()


def main(given: Sequence[str] | None, program: str) -> int:
    arguments = parser(program).parse_args(given)
    for path in (arguments.ca, arguments.cert, arguments.key, arguments.api_key_file):
        if path is not None and not path.is_file():
            print(f"there is no file {path}", file=sys.stderr)
            return 2
    target = Target(
        arguments.grpc,
        arguments.rest,
        arguments.ca,
        arguments.cert,
        arguments.key,
        api_key=_key(arguments.api_key_file),
    )
    try:
        return asyncio.run(COMMANDS[arguments.command](arguments, target))
    except InferenceError as error:
        print(f"{error.code.name}: {error.message}", file=sys.stderr)
        return 1
