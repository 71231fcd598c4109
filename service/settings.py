"""Settings: each is declared once and is a flag, an environment variable, a line of `--help` and a row of docs/settings.md.

A field `gateway_port` is the variable `GATEWAY_PORT` and the flag `--gateway-port`; a flag beats the variable, which
beats the default. A value that does not fit ends the program with one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NoReturn, Self, TypeVar, get_args, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from crossover import VERSION
from crossover.protocol.names import is_clean
from crossover.service import config_file
from crossover.service import log as log_of_service
from crossover.service.doors.forwarded import Forwarded
from crossover.service.doors.hosts import AllowedHosts
from crossover.service.doors.origins import Origins
from crossover.transport.connection_age import ENDLESS, ConnectionAge
from crossover.transport.grpcio import poller as grpc_poller
from crossover.transport.http1.limits import Http1Limits
from crossover.transport.tls import Tls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydantic.fields import FieldInfo

    from crossover.service.workers.worker import Worker

S = TypeVar("S", bound="ServiceSettings")
RepositoryControl = Literal["auto", "1", "0"]
"""Whether models may be loaded and unloaded through a port; auto: where only this host, a key or a certificate gets in."""
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
DAY = 86_400
MOST_BYTES, MOST_THREADS = 1 << 50, 1024
_USER_INFO = re.compile(r"(?<=://)\S*@")
ROOT = Path(__file__).resolve().parent.parent
"""The checkout; in an installed wheel, the package's folder."""


def _zero_or_from(least: float) -> Callable[[float], float]:
    """Check of a number whose 0 means none, and which means nothing useful below `least`."""

    def checked(value: float) -> float:
        if 0 < value < least:
            raise ValueError(f"it takes 0, which means none, or {least:g} and more")
        return value

    return checked


ConnectionAgeSeconds = Annotated[float, AfterValidator(_zero_or_from(0.1))]
Rate = Annotated[float, AfterValidator(_zero_or_from(0.001))]
Days = Annotated[float, AfterValidator(_zero_or_from(0.001))]


def user_data() -> Path:
    """Where data is kept by default: `data/` of a checkout, else the user's data folder (XDG Base Directory)."""
    if (ROOT / "pyproject.toml").exists():
        return ROOT / "data"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "crossover"


class ServiceSettings(BaseSettings):
    """The settings that both services have."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, frozen=True)
    title: ClassVar[str] = "Both services"
    tables: ClassVar[tuple[str, ...]] = ()
    """Tables of a settings file that this service reads."""
    secrets: ClassVar[frozenset[str]] = frozenset()
    """Settings that may come in a file of their own, which NAME_FILE names."""

    model_server_host: str = Field("127.0.0.1", description="address that the model server binds; a name, IPv4 or IPv6")
    model_server_http_port: int = Field(8000, ge=0, le=65535, description="the model server's REST port")
    model_server_grpc_port: int = Field(8001, ge=0, le=65535, description="the model server's gRPC port")
    model_server_workers: int = Field(
        1,
        ge=1,
        le=256,
        description="processes of the model server, which share its ports; a gateway opens connections to each of them",
    )
    max_message_bytes: int = Field(
        64 << 20, ge=1024, le=1 << 30, description="largest message in bytes, on both wires and both ways"
    )
    default_timeout_ms: int = Field(
        60_000, ge=1, le=10**9, description="time for a call in milliseconds; a request can only ask for less"
    )
    drain_seconds: float = Field(
        5.0, ge=0, le=DAY,
        description="how long a service that got SIGTERM says that it is leaving, unready but accepting, before it stops",
    )  # fmt: skip
    grace_seconds: float = Field(
        10.0, ge=0, le=DAY, description="how long requests in flight may take after a stop signal, in seconds"
    )
    max_in_flight_bytes: int = Field(
        512 << 20,
        ge=1 << 20,
        le=MOST_BYTES,
        description="memory that the messages of all requests in flight may take; more are OVERLOADED",
    )
    max_connections: int = Field(
        10_000, ge=1, le=10**6, description="most open connections of an HTTP port; more are answered 503"
    )
    max_connection_age_seconds: ConnectionAgeSeconds = Field(
        0.0,
        ge=0,
        le=DAY,
        description="age at which a connection is told to end, spread by a tenth, so that clients come to new replicas; 0: none",
    )
    max_connection_age_grace_seconds: float = Field(
        30.0,
        ge=0.1,
        le=DAY,
        description="how long calls on a gRPC connection that has reached that age may go on; HTTP requests always end",
    )
    head_seconds: float = Field(
        20.0, ge=0.1, le=DAY, description="time for an HTTP request's head, from its first byte; then 408"
    )
    body_seconds: float = Field(
        30.0, ge=0.1, le=DAY, description="how long an HTTP request's body may stand still; then 408"
    )
    write_seconds: float = Field(
        60.0,
        ge=0.1,
        le=DAY,
        description="how long a client may read nothing of its reply; then it is cut off",
    )
    keep_alive_seconds: float = Field(
        75.0,
        ge=0.1,
        le=DAY,
        description="how long an HTTP connection may be without a request; longer than the idle time of a proxy before it",
    )
    api_keys_file: Path | None = Field(
        None,
        description="file of hashed API keys, made by python -m rest_gateway keys add; with it every call but health needs one",
    )
    forwarded_allow_ips: str = Field(
        "",
        description="addresses and networks of proxies whose X-Forwarded-For and -Proto count, by commas; *: all; none: no one's",
    )
    allowed_hosts: str = Field(
        "",
        description="names that HTTP requests may be for, beside IP addresses, localhost and the bound name, by commas; "
        ".example.org: all under it; *: any",
    )
    cors_allow_origins: str = Field(
        "",
        description="web pages that may use the HTTP API, by their origins such as https://app.example.org, by commas; *: all",
    )
    model_uploads: bool = Field(
        False, description="allow loads that bring their own configuration or files, on both wires; else 403"
    )
    log_level: LogLevel = Field("info", description="debug, info, warning or error")
    log_format: LogFormat = Field("text", description="text, or json: one object a line")
    access_log: bool = Field(False, description="one line in the log for each HTTP request, with its URL")
    otel_exporter_otlp_endpoint: str = Field(
        "",
        description="URL of an OTLP collector (HTTP) that gets spans, such as http://localhost:4318; none: no traces",
    )
    otel_traces_sampler_arg: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of the requests without a traceparent that are traced, from 0 to 1; with one, its flag decides",
    )
    model_repository: Path = Field(
        ROOT / "models", description="folder of <name>/<version>/model.onnx, which both services use"
    )
    model_control: Literal["poll", "explicit", "none"] = Field(
        "poll", description="poll: follow the repository's files; explicit: load and unload only; none: fixed at start"
    )
    model_poll_seconds: float = Field(
        1.0, ge=0.01, le=DAY, description="how often the repository's files are looked at"
    )
    strict_readiness: bool = Field(
        False, description="ready only when every model that was not unloaded serves (Triton's --strict-readiness)"
    )
    model_batching: bool = Field(
        True, description="run requests together that arrive during a run, where config.pbtxt has dynamic_batching"
    )
    model_workers: int = Field(
        0,
        ge=0,
        le=MOST_THREADS,
        description="threads of a process that run models; 0: one a core over all workers, at least 2",
    )
    model_max_queue: int = Field(
        4096,
        ge=0,
        le=10**9,
        description="requests that may wait for a worker, whatever their deadlines; more are OVERLOADED",
    )
    response_cache_bytes: int = Field(
        64 << 20,
        ge=0,
        le=MOST_BYTES,
        description="memory for the answers of models with `response_cache { enable: true }` in config.pbtxt; 0: none is kept",
    )
    model_isolation: Literal["none", "process"] = Field(
        "none",
        description="process: models run in processes of their own, so that a crash ends only the calls in it (also per "
        "model, in config.pbtxt's parameters)",
    )
    model_memory_bytes: int = Field(
        0,
        ge=0,
        le=MOST_BYTES,
        description="bytes that such a process may take above its idle size, else it is ended; 0: any",
    )
    ort_intra_op_threads: int = Field(
        1, ge=0, le=MOST_THREADS, description="ONNX Runtime's threads inside one operator; 0: its choice"
    )
    ort_inter_op_threads: int = Field(
        1, ge=0, le=MOST_THREADS, description="ONNX Runtime's threads across operators; 0: its choice"
    )
    ort_graph_optimization: Literal["disable", "basic", "extended", "all"] = Field(
        "all", description="ONNX Runtime's graph optimization: disable, basic, extended or all"
    )
    ort_memory_arena: Literal["keep", "shrink", "off"] = Field(
        "keep",
        description="freed memory of runs: keep it for later ones, shrink: give it back after each run, off: do not pool it",
    )
    ort_providers: str = Field(
        "CPUExecutionProvider", description="ONNX Runtime's execution providers in order, separated by commas"
    )

    def http_limits(self) -> Http1Limits:
        """The bounds on what a client of an HTTP port may make it hold, and for how long."""
        return Http1Limits(
            head_seconds=self.head_seconds,
            body_seconds=self.body_seconds,
            write_seconds=self.write_seconds,
            keep_alive_seconds=self.keep_alive_seconds,
            age=self.connection_age(),
            max_connections=self.max_connections,
        )

    def of_worker(self, worker: Worker) -> Self:
        """The same settings with one worker's part of what the service as a whole may take."""
        return self.model_copy(
            update={
                "max_in_flight_bytes": worker.portion(self.max_in_flight_bytes, 1 << 20),
                "max_connections": worker.portion(self.max_connections),
                "model_max_queue": worker.portion(self.model_max_queue),
                "response_cache_bytes": worker.portion(self.response_cache_bytes),
                "model_workers": self.model_workers or max(2, worker.portion(os.cpu_count() or 1)),
            }
        )

    def connection_age(self) -> ConnectionAge:
        """How old connections may get."""
        if not self.max_connection_age_seconds:
            return ENDLESS
        return ConnectionAge(self.max_connection_age_seconds, self.max_connection_age_grace_seconds)

    @field_validator("*", mode="before")
    @classmethod
    def _reads_as_what_it_is(cls, value: object, info: ValidationInfo) -> object:
        """Neither blank nor with characters that cannot be seen; an empty text is none, where there may be none."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError(f"it takes {_takes(field)}")
        if not isinstance(value, str):
            return value
        if not value.strip():
            if not value and field.default in ("", None):
                return field.default
            raise ValueError(f"it is blank; it takes {_takes(field)}")
        if not _can_be_seen(value, field):
            raise ValueError("it has characters that cannot be seen")
        return value.strip() if field.annotation is str else value

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, value: str) -> str:
        AllowedHosts(value.split(","))
        return value

    @field_validator("cors_allow_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        Origins(value.split(","))
        return value

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        Forwarded(value.split(","))
        return value

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _is_an_endpoint(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("it takes a URL such as http://localhost:4318")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def rate_limit(service: str) -> Any:
    """The field of a service's rate."""
    text = f"requests a second that {service} takes of one key, or of one address without keys; 0: no limit"
    return Field(0.0, ge=0, le=10**6, description=text)


def rate_burst(setting: str) -> Any:
    """The field of a service's burst."""
    return Field(
        0, ge=0, le=10**6, description=f"requests of one caller at once under {setting}; 0: those of one second"
    )


def switch(value: object) -> object:
    """A `RepositoryControl` as booleans are written."""
    text = str(value).lower()
    return "1" if text in ("1", "true", "yes", "on") else "0" if text in ("0", "false", "no", "off") else text


def tls_of(cert: Path | None, key: Path | None, ca: Path | None, names: str) -> Tls | None:
    """The certificates of a port; ValueError when only one of certificate and key is set."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ValueError(f"{names} need both a certificate and a key")
    return Tls(cert, key, ca)


def load(kind: type[S], program: str, arguments: Sequence[str] | None = None) -> S:
    """Settings from flags and environment; ends the program with one sentence when a value does not fit."""
    _speak_as(os.environ.get("LOG_FORMAT"))
    arguments_given = vars(_parser(kind, program).parse_args(arguments))
    if arguments_given.pop("settings_markdown"):
        print(markdown(kind), end="")
        sys.exit(0)
    if arguments_given.pop("version"):
        print(f"{program} {VERSION}")
        sys.exit(0)
    path = arguments_given.pop("config") or os.environ.get(config_file.VARIABLE)
    flags = {name: value for name, value in arguments_given.items() if value is not None}
    _speak_as(flags.get("log_format"))
    spelled = {name: flag(name) for name in flags}
    try:
        filed = _from_files(kind, Path(path) if path else None)
        filed = {name: value for name, value in filed.items() if name not in flags and not os.environ.get(name.upper())}
        _speak_as(filed.get("log_format"))
        spelled |= {name: f"{name} in the settings file '{path}'" for name in filed}
        return kind(**filed | flags)
    except config_file.ConfigFileError as error:
        fail(str(error))
    except ValidationError as error:
        fail(_sentence(kind, error, spelled))


def _speak_as(form: str | None) -> None:
    """Refuse what follows in the form that the log is to have, since whoever collects JSON reads this too."""
    if form == "json" or (form == "text" and os.environ.get("LOG_FORMAT") == "json"):
        log_of_service.set_up_log("info", form)


def _can_be_seen(text: str, field: FieldInfo) -> bool:
    """Whether a text has no invisible characters; a path may have any that a file's name has but controls."""
    if field.annotation in (Path, Path | None):
        return is_clean(os.fsencode(text).decode("utf-8", "replace"))
    return text.isprintable()


def _from_files(kind: type[ServiceSettings], path: Path | None) -> dict[str, Any]:
    """Settings from the settings file and from the files of secrets, which variables or the settings file name."""
    secrets = {f"{name}_file": name for name in kind.secrets}
    values = config_file.read(path, {*kind.model_fields, *secrets}, kind.tables) if path else {}
    for key, name in secrets.items():
        named = values.pop(key, None)
        if secret := os.environ.get(key.upper()) or named:
            try:
                values[name] = Path(str(secret)).read_text("utf-8").strip()
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
                raise config_file.ConfigFileError(
                    f"{key.upper()} names '{secret}', which cannot be read: {why}"
                ) from None
    return values


def fail(sentence: str) -> NoReturn:
    """End the program: one sentence, on one line, on stderr, exit code 2. Users and passwords in URLs are left out."""
    log_of_service.say(_USER_INFO.sub("***@", sentence))
    sys.exit(2)


def environment(settings: ServiceSettings) -> dict[str, str]:
    """The settings that were given, by flag or variable, as the environment of a process that is to have the same."""
    return {
        name.upper(): str(value)
        for name in settings.model_fields_set
        if name in type(settings).model_fields and (value := getattr(settings, name)) is not None
    }


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


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
            f"| `{name.upper()}` | `{flag(name)}` | {_takes(field)} | {_shown(field.default)} | {_cell(field)} |"
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
            switch: dict[str, Any] = {"nargs": "?", "const": "1"} if field.annotation is bool else {}
            group.add_argument(
                flag(name),
                metavar="VALUE",
                **switch,
                help=f"{field.description} ({name.upper()}; default {_shown(field.default)})".replace("%", "%%"),
            )
    return parser


def _sections(kind: type[ServiceSettings]) -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    """The fields by the class that declares them, under that class's title."""
    for declaring in kind.__mro__:
        if issubclass(declaring, ServiceSettings) and (own := declaring.__annotations__):
            fields = {name: field for name, field in kind.model_fields.items() if name in own}
            if fields:
                yield declaring.title, fields


def _sentence(kind: type[ServiceSettings], error: ValidationError, spelled: Mapping[str, str]) -> str:
    """Which setting is wrong, as the user spelled it (a variable where `spelled` does not say), its value, and what would be right."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if name not in kind.model_fields:
        return first["msg"].removeprefix("Value error, ")
    own = first["type"] == "value_error"
    right = first["msg"].removeprefix("Value error, ") if own else f"it takes {_takes(kind.model_fields[name])}"
    value = "***" if name in kind.secrets else _USER_INFO.sub("***@", str(first.get("input")))[:80]
    return f"{spelled.get(name, name.upper())} is '{value}'; {right}"


def _takes(field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) is Literal:
        *most, last = get_args(kind)
        return f"{', '.join(most)} or {last}"
    if kind is bool:
        return "1 or 0"
    if kind in (int, float):
        return ("an integer" if kind is int else "a number") + _bounds(field)
    return "a path" if kind in (Path, Path | None) else "text"


def _bounds(field: FieldInfo) -> str:
    bounds = {bound: getattr(item, bound) for item in field.metadata for bound in ("ge", "le") if hasattr(item, bound)}
    return f" from {bounds['ge']} to {bounds['le']}"


def _cell(field: FieldInfo) -> str:
    return str(field.description).replace("|", "\\|").replace("<", "&lt;")


def _shown(default: object) -> str:
    if isinstance(default, Path):
        return f"{default.relative_to(ROOT)}/ of the checkout" if default.is_relative_to(ROOT) else str(default)
    if default is None or default == "":
        return "none"
    return str(int(default)) if isinstance(default, bool) else str(default)
