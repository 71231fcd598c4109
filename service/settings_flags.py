"""The settings as flags, with `--help`, and as the Markdown of docs/settings.md: for whoever gives a program arguments."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from crossover import VERSION
from crossover.service import config_file
from crossover.service.settings import ROOT, ServiceSettings, fail, flag
from crossover.transport.grpcio import poller as grpc_poller

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crossover.service.declared import Setting


def parsed(kind: type[ServiceSettings], program: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What was given, by the settings' names, and `config`; ends the program after what only prints."""
    parser = _parser(kind, program)  # type: ignore[arg-type]  # mypy takes its instances' hash for the class's
    given = vars(parser.parse_args(arguments))
    if given.pop("settings_markdown"):
        print(markdown(kind), end="")
        sys.exit(0)
    if given.pop("version"):
        print(f"{program} {VERSION}")
        sys.exit(0)
    return {name: value for name, value in given.items() if value is not None}


_GRPCIO = (
    "\n## grpcio's own\n",
    "Variables alone, read when grpcio starts; the second is for our clients too ([performance](performance.md)).\n",
    "| variable | default | what |",
    "| --- | --- | --- |",
    "| `GRPC_EXPERIMENTS` | `-event_engine_client,-event_engine_listener` | gRPC's switches; ours turn its event engine off |",
    f"| `{grpc_poller.VARIABLE}` | none | `{grpc_poller.SYSTEM}`: the polling thread is scheduled as the system has it |",
)


def markdown(kind: type[ServiceSettings]) -> str:
    """The settings as Markdown tables, one for each class that declares some: docs/settings.md."""
    parts = [
        "# Settings\n",
        "*For people who operate it: every setting of both services, with its bounds and its default.*\n",
        "Each setting is a flag and an environment variable; the flag wins. `python -m model_server --help` and",
        "`python -m rest_gateway --help` list them too; `make run` takes the variables and gives them to both.",
        "This page is made by `python -m stack --settings-markdown`.",
        "",
        "`--config FILE` (or `CONFIG_FILE`) reads settings from a TOML file: the variables' names in lower case, those of one service",
        "in a table `[gateway]` or `[model_server]`. A flag goes before a variable, which goes before the file. `DATABASE_URL_FILE`",
        "(`database_url_file` in it) names a file whose text is `DATABASE_URL`.",
    ]
    for title, fields in _sections(kind):
        parts += [f"\n## {title}\n", "| variable | flag | takes | default | what |", "| --- | --- | --- | --- | --- |"]
        parts += [
            f"| `{name.upper()}` | `{flag(name)}` | {field.takes()} | {_shown(field.default)} | {_cell(field)} |"
            for name, field in fields.items()
        ]
    return "\n".join([*parts, *_GRPCIO]) + "\n"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(f"{self.prog}: {message}; --help lists the settings")


@functools.cache
def _parser(kind: type[ServiceSettings], program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        usage=f"{program} [--SETTING VALUE ...]",
        description="Each setting is a flag and an environment variable of the same name in capitals; the flag wins.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"settings in TOML; flags and variables go before them ({config_file.VARIABLE})",
    )
    parser.add_argument("--settings-markdown", action="store_true", help="print the settings as Markdown tables")
    for title, fields in _sections(kind):
        group = parser.add_argument_group(title)
        for name, field in fields.items():
            switch: dict[str, Any] = {"nargs": "?", "const": "1"} if field.kind is bool else {}
            group.add_argument(
                flag(name),
                metavar="VALUE",
                **switch,
                help=f"{field.description} ({name.upper()}; default {_shown(field.default)})".replace("%", "%%"),
            )
    return parser


def _sections(kind: type[ServiceSettings]) -> Iterator[tuple[str, dict[str, Setting]]]:
    """The fields by the class that declares them, under that class's title."""
    for declaring in kind.__mro__:
        if issubclass(declaring, ServiceSettings) and (own := declaring.own_fields()):
            yield declaring.title, own


def _cell(field: Setting) -> str:
    return field.description.replace("|", "\\|").replace("<", "&lt;")


def _shown(default: object) -> str:
    if isinstance(default, Path):
        return f"{default.relative_to(ROOT)}/ of the checkout" if default.is_relative_to(ROOT) else str(default)
    if default is None or default == "":
        return "none"
    return str(int(default)) if isinstance(default, bool) else str(default)
