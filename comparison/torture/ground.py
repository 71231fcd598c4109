"""The services that promises are tried on: real processes with settings of their own, one set after the other."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from crossover.comparison.torture import guards
from crossover.protocol.wires import WIRES
from crossover.stack.services import ROOT, ServiceProcess, StartError, free_ports

if TYPE_CHECKING:
    from crossover.comparison.torture.guards import Guard

T = TypeVar("T")
OWN_MODELS = Path(__file__).parent / "repository"
UPSTREAMS = tuple(WIRES)
_PORTS = ("MODEL_SERVER_HTTP_PORT", "MODEL_SERVER_GRPC_PORT", "GATEWAY_PORT")


class TortureError(RuntimeError):
    """Nothing could be tried, in one sentence."""


class Ground:
    """A model server and a gateway; entered, they are ready."""

    def __init__(
        self, settings: Mapping[str, str], log: IO[bytes], upstreams: Sequence[str], folder: Path,
        guard: Guard | None = None,
    ) -> None:  # fmt: skip
        """`folder` is for what is written; `guard` is the one that is off."""
        self.upstreams = list(upstreams)
        self.folder = folder
        self._log, self._guard = log, guard
        ports = free_ports(len(_PORTS))
        self.ports = dict(zip(_PORTS, ports, strict=True))
        self.environment = {
            **{name: str(port) for name, port in self.ports.items()},
            "GATEWAY_UPSTREAM_HEADER": "1",
            "DATA_DIR": str(self.folder / "data"),
            "MODEL_REPOSITORY": str(ROOT / "models"),
            "MODEL_CONTROL": "none",
            "LOG_LEVEL": "warning",
            "DRAIN_SECONDS": "0",
            **settings,
        }
        self._found: dict[Callable[..., Any], Any] = {}
        self.model_server: ServiceProcess
        self.gateway: ServiceProcess

    @property
    def is_brief(self) -> bool:
        """Whether a guard is off, which shows in the first moment of an attack."""
        return self._guard is not None

    @property
    def models(self) -> Path:
        return Path(self.environment["MODEL_REPOSITORY"])

    @property
    def http_ports(self) -> dict[str, tuple[int, ServiceProcess]]:
        """Both services' HTTP ports, and whose they are."""
        return {
            "gateway": (self.ports["GATEWAY_PORT"], self.gateway),
            "model server": (self.ports["MODEL_SERVER_HTTP_PORT"], self.model_server),
        }

    @property
    def gateway_port(self) -> int:
        return self.ports["GATEWAY_PORT"]

    @property
    def grpc_port(self) -> int:
        return self.ports["MODEL_SERVER_GRPC_PORT"]

    @property
    def remote(self) -> list[str]:
        """The upstreams that are another process."""
        return [name for name in self.upstreams if WIRES[name].kind != "process"]

    def once(self, trial: Callable[[Ground], T]) -> T:
        """What a trial finds that several promises are about."""
        if trial not in self._found:
            self._found[trial] = trial(self)
        found: T = self._found[trial]
        return found

    def setting(self, name: str) -> float:
        """A number that the services were told."""
        return float(self.environment[name])

    def start_model_server(self, **settings: str) -> ServiceProcess:
        return self.start("model_server", self.ports["MODEL_SERVER_HTTP_PORT"], settings)

    def renew_model_server(self) -> None:
        """Another one in place of that which still works off what it was sent."""
        self.model_server.kill()
        self.model_server = self.start_model_server()
        self.model_server.await_ready()

    def start_gateway(self, **settings: str) -> ServiceProcess:
        """One more gateway, on a port of its own."""
        port = free_ports(1)[0]
        return self.start("rest_gateway", port, {"GATEWAY_PORT": str(port), **settings})

    def start(self, module: str, port: int, settings: Mapping[str, str]) -> ServiceProcess:
        """A service of ours, as everybody starts it but for the guard that is off."""
        environment = {**self.environment, **settings}
        arguments: list[str] = []
        if self._guard is not None:
            environment |= self._guard.settings
            if self._guard.replaced or self._guard.changed:
                environment[guards.VARIABLE] = self._guard.name
                module, arguments = "comparison.torture.unguarded", [module]
        return ServiceProcess(module, environment, ("127.0.0.1", port), self._log, arguments=arguments)

    def __enter__(self) -> Self:
        self.model_server = self.start_model_server()
        self.gateway = self.start("rest_gateway", self.gateway_port, {})
        try:
            self.model_server.await_ready()
            self.gateway.await_ready()
        except StartError as error:
            self.__exit__()
            raise TortureError(f"the services did not start: {error}; their log is {self._log.name}") from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for service in (self.gateway, self.model_server):
            service.stop(5)

    def ask(self, path: str, body: bytes | None = None, seconds: float = 60.0, **fields: str) -> tuple[int, float]:
        """Ask the gateway over a connection of its own; HTTP status (0: none came), and seconds."""
        return ask(self.gateway_port, path, body, seconds, **fields)


def ask(port: int, path: str, body: bytes | None, seconds: float, **fields: str) -> tuple[int, float]:
    """One request over a connection of its own; HTTP status (0: none came), and seconds."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    with contextlib.closing(connection):
        try:
            sent = {name.replace("_", "-"): value for name, value in fields.items()}
            connection.request("POST" if body else "GET", path, body, sent)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
    return status, time.monotonic() - began
