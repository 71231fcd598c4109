"""Several model servers with one gateway in front, as processes: for tests and the lab."""

from __future__ import annotations

import contextlib
import copy
import signal
from typing import IO, TYPE_CHECKING

from crossover.stack.services import ServiceProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class ReplicaProcess:
    """A model server on ports of its own, which it keeps when it is started again."""

    def __init__(self, environment: Mapping[str, str], log: IO[bytes] | int | None) -> None:
        http, grpc = free_ports(2)
        self.grpc = f"127.0.0.1:{grpc}"
        self.rest = f"http://127.0.0.1:{http}"
        self._ready_at = ("127.0.0.1", http)
        self._environment = {
            **environment,
            "MODEL_SERVER_HTTP_PORT": str(http),
            "MODEL_SERVER_GRPC_PORT": str(grpc),
        }
        self._log = log
        self.service = self.start()

    def behind(self, grpc: str, rest: str) -> ReplicaProcess:
        """The same service under other addresses."""
        other = copy.copy(self)
        other.grpc, other.rest = grpc, rest
        return other

    def start(self) -> ServiceProcess:
        self.service = ServiceProcess("model_server", self._environment, self._ready_at, self._log)
        return self.service


class Fleet:
    """`replicas` model servers, and a gateway that knows them all; `environment` is for all of them."""

    def __init__(
        self, replicas: int, environment: Mapping[str, str] | None = None, log: IO[bytes] | int | None = None
    ) -> None:
        self._environment, self._log = dict(environment or {}), log
        self.replicas = [self._replica() for _ in range(replicas)]
        (self._port,) = free_ports(1)
        self.gateway: ServiceProcess | None = None

    @property
    def grpc_target(self) -> str:
        return ",".join(replica.grpc for replica in self.replicas)

    @property
    def rest_target(self) -> str:
        return ",".join(replica.rest for replica in self.replicas)

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def add(self) -> ReplicaProcess:
        """One more, when it is ready; the gateway knows it only from a file or a name."""
        replica = self._replica()
        replica.service.await_ready()
        self.replicas.append(replica)
        return replica

    def remove(self) -> None:
        """Stop the one that was added last."""
        self.replicas.pop().service.stop()

    def start_gateway(self, **settings: str) -> ServiceProcess:
        """A gateway in front of all of them, when it is ready; `settings` may give it other targets."""
        targets = {"GATEWAY_GRPC_TARGET": self.grpc_target, "GATEWAY_REST_TARGET": self.rest_target}
        environment = {**self._environment, **targets, "GATEWAY_PORT": str(self._port), **settings}
        self.gateway = ServiceProcess("rest_gateway", environment, ("127.0.0.1", self._port), self._log)
        self.gateway.await_ready()
        return self.gateway

    def await_ready(self) -> None:
        for replica in self.replicas:
            replica.service.await_ready()

    def stop(self) -> None:
        services = [replica.service for replica in self.replicas]
        if self.gateway is not None:
            services.insert(0, self.gateway)
        for service in services:
            service.signal(signal.SIGINT)
        for service in services:
            service.wait(15.0)

    def _replica(self) -> ReplicaProcess:
        return ReplicaProcess(self._environment, self._log)


@contextlib.contextmanager
def running(
    replicas: int, environment: Mapping[str, str] | None = None, log: IO[bytes] | int | None = None
) -> Iterator[Fleet]:
    """Ready model servers without a gateway; all is stopped at the end."""
    fleet = Fleet(replicas, environment, log)
    try:
        fleet.await_ready()
        yield fleet
    finally:
        fleet.stop()
