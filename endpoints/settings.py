"""Settings: each is declared once and is a flag, an environment variable, a line of `--help` and a row of docs/settings.md.

A field `gateway_port` is the variable `GATEWAY_PORT` and the flag `--gateway-port`; a flag beats the variable, which
beats the default. A value that does not fit ends the program with one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from endpoints.tls import Tls

S = TypeVar("S", bound="ServiceSettings")
LogLevel = Literal["debug", "info", "warning", "error"]


class ServiceSettings(BaseSettings):
    """What both services have."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, frozen=True)

    model_server_host: str = Field("127.0.0.1", description="address that the model server binds; a name, IPv4 or IPv6")
    model_server_http_port: int = Field(8000, ge=0, le=65535, description="the model server's REST port")
    model_server_grpc_port: int = Field(8001, ge=0, le=65535, description="the model server's gRPC port")
    max_message_bytes: int = Field(
        64 << 20, ge=1024, le=1 << 30, description="largest message in bytes, on both wires and both ways"
    )
    default_timeout_ms: int = Field(
        60_000, ge=1, description="time for a call in milliseconds; a request can only ask for less"
    )
    grace_seconds: float = Field(10.0, ge=0, description="how long requests in flight may take after a stop signal")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")
    access_log: bool = Field(False, description="one line in the log for each HTTP request, with its URL")
    model_repository: Path = Field(
        Path(__file__).resolve().parent.parent / "models",
        description="folder of <name>/<version>/model.onnx; default: models/ of the checkout",
    )
    model_control: Literal["poll", "explicit", "none"] = Field(
        "poll", description="poll: follow the repository's files; explicit: load and unload only; none: fixed at start"
    )
    model_poll_seconds: float = Field(1.0, gt=0, description="how often the repository's files are looked at")
    model_workers: int = Field(0, ge=0, description="threads that run models; 0: one a core, at least 2")
    model_max_queue: int = Field(4096, ge=0, description="requests that may wait for a thread; more are OVERLOADED")
    ort_intra_op_threads: int = Field(1, ge=0, description="ONNX Runtime's threads inside one operator; 0: its choice")
    ort_inter_op_threads: int = Field(1, ge=0, description="ONNX Runtime's threads across operators; 0: its choice")
    ort_graph_optimization: Literal["disable", "basic", "extended", "all"] = Field(
        "all", description="ONNX Runtime's graph optimization: disable, basic, extended or all"
    )
    ort_providers: str = Field(
        "CPUExecutionProvider", description="ONNX Runtime's execution providers in order, separated by commas"
    )


def tls_of(cert: Path | None, key: Path | None, ca: Path | None, names: str) -> Tls | None:
    """The certificates of a port; ValueError when only one of certificate and key is set."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ValueError(f"{names} need both a certificate and a key")
    return Tls(cert, key, ca)


def load(kind: type[S], program: str, arguments: list[str] | None = None) -> S:
    """Settings from flags and environment; ends the program with one sentence when a value does not fit."""
    given = vars(_parser(kind, program).parse_args(arguments))
    if given.pop("settings_markdown"):
        print(markdown(kind))
        sys.exit(0)
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        shown = f"{name.upper()} is {str(first.get('input'))[:80]!r}: " if name else ""
        text = first["msg"].removeprefix("Value error, ")
        fail(f"{shown}{text[0].lower()}{text[1:]}")


def fail(sentence: str) -> NoReturn:
    """End the program: one sentence on stderr, exit code 2."""
    print(sentence, file=sys.stderr)
    sys.exit(2)


def _parser(kind: type[ServiceSettings], program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Each setting is a flag and an environment variable of the same name in capitals; the flag wins.",
        allow_abbrev=False,
    )
    parser.add_argument("--settings-markdown", action="store_true", help="print the settings as a Markdown table")
    for name, field in kind.model_fields.items():
        optional: dict[str, Any] = {"nargs": "?", "const": "true"} if field.annotation is bool else {}
        parser.add_argument(
            "--" + name.replace("_", "-"),
            metavar="VALUE",
            **optional,
            help=f"{field.description} ({name.upper()}; default {_shown(field.default)})".replace("%", "%%"),
        )
    return parser


def _shown(default: object) -> str:
    if isinstance(default, Path):
        return "models/" if default.name == "models" else str(default)
    if default is None or default == "":
        return "none"
    return str(default).lower() if isinstance(default, bool) else str(default)


def markdown(kind: type[ServiceSettings]) -> str:
    """The settings as a Markdown table, for docs/settings.md."""
    rows = [
        f"| `{name.upper()}` | `--{name.replace('_', '-')}` | {_shown(field.default)} | {field.description} |"
        for name, field in kind.model_fields.items()
    ]
    return "\n".join(["| variable | flag | default | what |", "| --- | --- | --- | --- |", *rows])
