"""The gateways that are measured, by the settings that each has: as `make run` starts it, and with each option alone.

What an option costs is then a ratio within a round, to the gateway that has none.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from crossover.comparison.load.sockets import Tls
from crossover.comparison.machine.certificate import make_certificate
from crossover.service.doors.keys import Key, Scope, digest_of, line_of, new_token

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = "gateway without options"
AS_STARTED = {"GATEWAY_REPOSITORY_CONTROL": "auto", "GATEWAY_UPSTREAM_HEADER": "1", "GATEWAY_TIMING": "1"}
"""What `make run` sets (Makefile)."""
_ASKING = {"inference-timeline": "1"}


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway, and what its callers do because of its settings."""

    settings: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: Tls | None = None
    behind: str = "model server"


GATEWAYS: dict[str, Gateway] = {
    "gateway": Gateway({"GATEWAY_UPSTREAM_HEADER": "1"}),
    "lean gateway": Gateway({"GATEWAY_UPSTREAM_HEADER": "1"}, behind="lean model server"),
    PLAIN: Gateway(),
    "gateway as started": Gateway(AS_STARTED),
    "gateway with timing": Gateway({"GATEWAY_TIMING": "1"}),
    "gateway with timing, asked for": Gateway({"GATEWAY_TIMING": "1"}, _ASKING),
    "gateway with an access log": Gateway({"ACCESS_LOG": "1", "LOG_LEVEL": "info"}),
    "gateway with a rate limit": Gateway({"GATEWAY_RATE_LIMIT": "1000000"}),
    "gateway with keys": Gateway(),
    "gateway with TLS": Gateway(),
    "gateway with traces of each": Gateway({"OTEL_TRACES_SAMPLER_ARG": "1"}),
    "gateway with traces of 1 %": Gateway({"OTEL_TRACES_SAMPLER_ARG": "0.01"}),
}
"""Without what only a run knows, see `prepared`."""
BY_DEFAULT_UPSTREAM = GATEWAYS.keys() - {"gateway", "lean gateway"}
"""Their callers choose none, and it is `grpc`."""
OPTIONS = [name for name in GATEWAYS if name.startswith("gateway with ")]


@contextmanager
def prepared(names: set[str], folder: Path) -> Iterator[dict[str, Gateway]]:
    """The gateways called `names`, with the files and the collector of traces that some need."""
    found = {name: GATEWAYS[name] for name in GATEWAYS if name in names}
    with contextlib.ExitStack() as stack:
        if "gateway with keys" in found:
            found["gateway with keys"] = _with_keys(folder)
        if "gateway with TLS" in found:
            found["gateway with TLS"] = _with_tls(folder)
        traced = [name for name in found if "OTEL_TRACES_SAMPLER_ARG" in found[name].settings]
        if traced:
            endpoint = stack.enter_context(_collector())
            for name in traced:
                found[name] = Gateway({**found[name].settings, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
        yield found


def _with_keys(folder: Path) -> Gateway:
    token, path = new_token(), folder / "keys"
    path.write_text(line_of(Key("bench", frozenset({Scope.INFER}), digest_of(token))))
    path.chmod(0o600)
    return Gateway({"API_KEYS_FILE": str(path)}, {"authorization": f"Bearer {token}"})


def _with_tls(folder: Path) -> Gateway:
    certificate = make_certificate(folder)
    settings = {"GATEWAY_TLS_CERT": str(certificate), "GATEWAY_TLS_KEY": str(certificate)}
    return Gateway(settings, tls=Tls(insecure=True))


class _Collector(BaseHTTPRequestHandler):
    """Takes spans and forgets them."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextmanager
def _collector() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Collector)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
