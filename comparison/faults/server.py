"""The model server that the faults happen to, and the ways to it: straight, or through proxies that a fault can hold up."""

from __future__ import annotations

import contextlib
from typing import IO, TYPE_CHECKING, Self
from urllib.parse import urlsplit

from crossover.comparison.lab.wires import PORTS
from crossover.comparison.network.link import THERE_ADDRESS
from crossover.comparison.torture.frozen import Proxy
from crossover.protocol.wires import Target
from crossover.stack.services import ServiceProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from crossover.comparison.network.link import Link

DRAIN_SECONDS = 1.0
_STOP_SECONDS = 5.0


class Server:
    """One model server with the lab's endpoints, on ports that it keeps when it is started again.

    Every arm has the same process, model workers and drain; start it from the thread that lives as long as it is to.
    """

    def __init__(self, hash_seed: int, log: IO[bytes], link: Link | None = None) -> None:
        """`link`: it is on the other host of this link."""
        host = THERE_ADDRESS if link else "127.0.0.1"
        rest, grpc, *lab = free_ports(2 + len(PORTS))
        options = dict(zip(PORTS, map(str, lab), strict=True))
        self.target = Target(f"{host}:{grpc}", f"http://{host}:{rest}", options=options)
        self._through = link.into_other_host if link else []
        self._log = log
        self._ready_at = (host, rest)
        self._environment = {
            "MODEL_SERVER_HOST": host,
            "MODEL_SERVER_HTTP_PORT": str(rest),
            "MODEL_SERVER_GRPC_PORT": str(grpc),
            "MODEL_SERVER_GRPC_LIBRARY": "grpcio",
            "MODEL_WORKERS": "1",
            "DRAIN_SECONDS": f"{DRAIN_SECONDS:g}",
            "LOG_LEVEL": "error",
            "PYTHONHASHSEED": str(hash_seed),
            **options,
        }
        self.service = self._start()

    def start(self) -> None:
        """Again, after its end; it is not ready yet."""
        self.service = self._start()

    def _start(self) -> ServiceProcess:
        return ServiceProcess(
            "comparison.services.model_server", self._environment, self._ready_at, self._log, through=self._through
        )

    def __enter__(self) -> Self:
        try:
            self.service.await_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop(_STOP_SECONDS)


@contextlib.contextmanager
def proxied(target: Target) -> Iterator[tuple[Target, list[Proxy]]]:
    """The same service, every port of it behind a proxy of its own, so that any wire is held up alike."""
    with contextlib.ExitStack() as stack:
        proxies: list[Proxy] = []

        def before(port: int | str | None) -> int:
            proxy = stack.enter_context(Proxy(int(port or 0)))
            proxies.append(proxy)
            return proxy.port

        grpc = f"127.0.0.1:{before(target.grpc.rpartition(':')[2])}"
        rest = f"http://127.0.0.1:{before(urlsplit(target.rest).port)}"
        options = {name: str(before(port)) for name, port in target.options.items()}
        yield Target(grpc, rest, options=options), proxies
