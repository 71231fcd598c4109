"""Settings: each is declared once and is a flag, an environment variable, a line of `--help` and a row of docs/settings.md.

A field `gateway_port` is the variable `GATEWAY_PORT` and the flag `--gateway-port`; a flag beats the variable, which
beats the default. A value that does not fit ends the program with one sentence and exit code 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self, TypeVar
from urllib.parse import urlsplit

from crossover.service import config_file
from crossover.service import log as log_of_service
from crossover.service.declared import Declared, SettingError, setting, without_user_info
from crossover.service.doors.forwarded import Forwarded
from crossover.service.doors.hosts import AllowedHosts
from crossover.service.doors.origins import Origins
from crossover.transport.connection_age import ENDLESS, ConnectionAge
from crossover.transport.http1.limits import Http1Limits
from crossover.transport.tls import Tls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.service.workers.worker import Worker

S = TypeVar("S", bound="ServiceSettings")
RepositoryControl = Literal["auto", "1", "0"]
"""Whether models may be loaded and unloaded through a port; auto: where only this host, a key or a certificate gets in."""
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
DAY = 86_400
MOST_BYTES, MOST_THREADS = 1 << 50, 1024
ROOT = Path(__file__).resolve().parent.parent
"""The checkout; in an installed wheel, the package's folder."""


def zero_or_from(least: float) -> Callable[[float], None]:
    """Check of a number whose 0 means none, and which means nothing useful below `least`."""

    def check(value: float) -> None:
        if 0 < value < least:
            raise ValueError(f"it takes 0, which means none, or {least:g} and more")

    return check


def _check_hosts(value: str) -> None:
    AllowedHosts(value.split(","))


def _check_origins(value: str) -> None:
    Origins(value.split(","))


def _check_networks(value: str) -> None:
    Forwarded(value.split(","))


def _check_collector(value: str) -> None:
    if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
        raise ValueError("it takes a URL such as http://localhost:4318")


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def user_data() -> Path:
    """Where data is kept by default: `data/` of a checkout, else the user's data folder (XDG Base Directory)."""
    if (ROOT / "pyproject.toml").exists():
        return ROOT / "data"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "crossover"


class ServiceSettings(Declared):
    """The settings that both services have."""

    title: ClassVar[str] = "Both services"
    tables: ClassVar[tuple[str, ...]] = ()
    """Tables of a settings file that this service reads."""
    secrets: ClassVar[frozenset[str]] = frozenset()
    """Settings that may come in a file of their own, which NAME_FILE names."""

    model_server_host: str = setting(
        "127.0.0.1", description="address that the model server binds; a name, IPv4 or IPv6"
    )
    model_server_http_port: int = setting(8000, ge=0, le=65535, description="the model server's REST port")
    model_server_grpc_port: int = setting(8001, ge=0, le=65535, description="the model server's gRPC port")
    model_server_workers: int = setting(
        1,
        ge=1,
        le=256,
        description="processes of the model server, which share its ports; a gateway opens connections to each of them",
    )
    max_message_bytes: int = setting(
        64 << 20, ge=1024, le=1 << 30, description="largest message in bytes, on both wires and both ways"
    )
    default_timeout_ms: int = setting(
        60_000, ge=1, le=10**9, description="time for a call in milliseconds; a request can only ask for less"
    )
    drain_seconds: float = setting(
        5.0, ge=0, le=DAY,
        description="how long a service that got SIGTERM says that it is leaving, unready but accepting, before it stops",
    )  # fmt: skip
    grace_seconds: float = setting(
        10.0, ge=0, le=DAY, description="how long requests in flight may take after a stop signal, in seconds"
    )
    max_in_flight_bytes: int = setting(
        512 << 20,
        ge=1 << 20,
        le=MOST_BYTES,
        description="memory that the messages of all requests in flight may take; more are OVERLOADED",
    )
    max_connections: int = setting(
        10_000, ge=1, le=10**6, description="most open connections of an HTTP port; more are answered 503"
    )
    max_connection_age_seconds: float = setting(
        0.0,
        check=zero_or_from(0.5),
        ge=0,
        le=DAY,
        description="age at which a connection is told to end, spread by a tenth, so that clients come to new replicas; 0: none",
    )
    max_connection_age_grace_seconds: float = setting(
        30.0,
        ge=1,
        le=DAY,
        description="how long calls on a gRPC connection that has reached that age may go on; HTTP requests always end",
    )
    head_seconds: float = setting(
        20.0, ge=0.1, le=DAY, description="time for an HTTP request's head, from its first byte; then 408"
    )
    body_seconds: float = setting(
        30.0, ge=0.1, le=DAY, description="how long an HTTP request's body may stand still; then 408"
    )
    write_seconds: float = setting(
        60.0,
        ge=0.1,
        le=DAY,
        description="how long a client may read nothing of its reply; then it is cut off",
    )
    keep_alive_seconds: float = setting(
        75.0,
        ge=0.1,
        le=DAY,
        description="how long an HTTP connection may be without a request; longer than the idle time of a proxy before it",
    )
    api_keys_file: Path | None = setting(
        None,
        description="file of hashed API keys, made by python -m rest_gateway keys add; with it every call but health needs one",
    )
    forwarded_allow_ips: str = setting(
        "",
        check=_check_networks,
        description="addresses and networks of proxies whose X-Forwarded-For and -Proto count, by commas; *: all; none: no one's",
    )
    allowed_hosts: str = setting(
        "",
        check=_check_hosts,
        description="names that HTTP requests may be for, beside IP addresses, localhost and the bound name, by commas; "
        ".example.org: all under it; *: any",
    )
    cors_allow_origins: str = setting(
        "",
        check=_check_origins,
        description="web pages that may use the HTTP API, by their origins such as https://app.example.org, by commas; *: all",
    )
    model_uploads: bool = setting(
        False, description="allow loads that bring their own configuration or files, on both wires; else 403"
    )
    log_level: LogLevel = setting("info", spelled=_lower, description="debug, info, warning or error")
    log_format: LogFormat = setting("text", description="text, or json: one object a line")
    access_log: bool = setting(False, description="one line in the log for each HTTP request, with its URL")
    otel_exporter_otlp_endpoint: str = setting(
        "",
        check=_check_collector,
        description="URL of an OTLP collector (HTTP) that gets spans, such as http://localhost:4318; none: no traces",
    )
    otel_traces_sampler_arg: float = setting(
        1.0,
        ge=0,
        le=1,
        description="share of the requests without a traceparent that are traced, from 0 to 1; with one, its flag decides",
    )
    model_repository: Path = setting(
        ROOT / "models", description="folder of <name>/<version>/model.onnx, which both services use"
    )
    model_control: Literal["poll", "explicit", "none"] = setting(
        "poll", description="poll: follow the repository's files; explicit: load and unload only; none: fixed at start"
    )
    model_poll_seconds: float = setting(
        1.0, ge=0.01, le=DAY, description="how often the repository's files are looked at"
    )
    strict_readiness: bool = setting(
        False, description="ready only when every model that was not unloaded serves (Triton's --strict-readiness)"
    )
    model_batching: bool = setting(
        True, description="run requests together that arrive during a run, where config.pbtxt has dynamic_batching"
    )
    model_workers: int = setting(
        0,
        ge=0,
        le=MOST_THREADS,
        description="threads of a process that run models; 0: one a core over all workers, at least 2",
    )
    model_max_queue: int = setting(
        4096,
        ge=0,
        le=10**9,
        description="requests that may wait for a worker, whatever their deadlines; more are OVERLOADED",
    )
    response_cache_bytes: int = setting(
        64 << 20,
        ge=0,
        le=MOST_BYTES,
        description="memory for the answers of models with `response_cache { enable: true }` in config.pbtxt; 0: none is kept",
    )
    model_isolation: Literal["none", "process"] = setting(
        "none",
        description="process: models run in processes of their own, so that a crash ends only the calls in it (also per "
        "model, in config.pbtxt's parameters)",
    )
    model_memory_bytes: int = setting(
        0,
        ge=0,
        le=MOST_BYTES,
        description="bytes that such a process may take above its idle size, else it is ended; 0: any",
    )
    ort_intra_op_threads: int = setting(
        1, ge=0, le=MOST_THREADS, description="ONNX Runtime's threads inside one operator; 0: its choice"
    )
    ort_inter_op_threads: int = setting(
        1, ge=0, le=MOST_THREADS, description="ONNX Runtime's threads across operators; 0: its choice"
    )
    ort_graph_optimization: Literal["disable", "basic", "extended", "all"] = setting(
        "all", description="ONNX Runtime's graph optimization: disable, basic, extended or all"
    )
    ort_memory_arena: Literal["keep", "shrink", "off"] = setting(
        "keep",
        description="freed memory of runs: keep it for later ones, shrink: give it back after each run, off: do not pool it",
    )
    ort_providers: str = setting(
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
        return self.changed(
            max_in_flight_bytes=worker.portion(self.max_in_flight_bytes, 1 << 20),
            max_connections=worker.portion(self.max_connections),
            model_max_queue=worker.portion(self.model_max_queue),
            response_cache_bytes=worker.portion(self.response_cache_bytes),
            model_workers=self.model_workers or max(2, worker.portion(os.cpu_count() or 1)),
        )

    def connection_age(self) -> ConnectionAge:
        """How old connections may get."""
        if not self.max_connection_age_seconds:
            return ENDLESS
        return ConnectionAge(self.max_connection_age_seconds, self.max_connection_age_grace_seconds)


def rate_limit(service: str) -> Any:
    """The field of a service's rate."""
    text = f"requests a second that {service} takes of one key, or of one address without keys; 0: no limit"
    return setting(0.0, ge=0, le=10**6, check=zero_or_from(0.001), description=text)


def rate_burst(rate: str) -> Any:
    """The field of a service's burst."""
    return setting(
        0, ge=0, le=10**6, description=f"requests of one caller at once under {rate}; 0: those of one second"
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
    given = _flags(kind, program, sys.argv[1:] if arguments is None else arguments)
    path = given.pop("config", None) or os.environ.get(config_file.VARIABLE)
    _speak_as(given.get("log_format"))
    spelled = {name: flag(name) for name in given}
    try:
        filed = _from_files(kind, Path(path) if path else None)
        filed = {name: value for name, value in filed.items() if name not in given and not os.environ.get(name.upper())}
        _speak_as(filed.get("log_format"))
        spelled |= {name: f"{name} in the settings file '{path}'" for name in filed}
        return kind(**filed | given)
    except config_file.ConfigFileError as error:
        fail(str(error))
    except SettingError as error:
        fail(error.sentence(spelled.get(error.name, error.name.upper()), hidden=error.name in kind.secrets))


def _flags(kind: type[S], program: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The flags that were given, by their settings' names; the parser is imported where there are some."""
    if not arguments:
        return {}
    from crossover.service import settings_flags

    return settings_flags.parsed(kind, program, arguments)


def _speak_as(form: str | None) -> None:
    """Refuse what follows in the form that the log is to have, since whoever collects JSON reads this too."""
    if form == "json" or (form == "text" and os.environ.get("LOG_FORMAT") == "json"):
        log_of_service.set_up_log("info", form)


def _from_files(kind: type[ServiceSettings], path: Path | None) -> dict[str, Any]:
    """Settings from the settings file and from the files of secrets, which variables or the settings file name."""
    secrets = {f"{name}_file": name for name in kind.secrets}
    values = config_file.read(path, {*kind.fields, *secrets}, kind.tables) if path else {}
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
    log_of_service.say(without_user_info(sentence))
    sys.exit(2)


def environment(settings: ServiceSettings) -> dict[str, str]:
    """The settings that were given, by flag or variable, as the environment of a process that is to have the same."""
    values = {name: getattr(settings, name) for name in settings.given}
    return {name.upper(): str(value) for name, value in values.items() if value is not None}


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")
