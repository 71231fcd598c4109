"""The services of one block: fresh processes, fresh ports, fresh seeds, and what the kernel says of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from crossover.comparison.lab.wires import PORTS, SOCKETS
from crossover.comparison.machine import cpu, sockets
from crossover.comparison.network.link import THERE_ADDRESS
from crossover.comparison.services import certificates, scratch
from crossover.protocol.wires import Target
from crossover.stack.services import ServiceProcess, StartError, free_ports

if TYPE_CHECKING:
    from types import TracebackType

    from crossover.comparison.network.link import Counters, Link

MODEL_SERVER, GATEWAY, WIRE = "model server", "gateway", "wire"
_PADDING = 4096


class FleetError(RuntimeError):
    """The services could not be started, in one sentence."""


class Fleet:
    """A model server and, unless clients call it directly, a gateway, started for one block and stopped with it.

    Every start gets another hash seed and an environment of another size, since both shift memory layout enough to
    change timings (Mytkowicz et al., ASPLOS 2009).
    """

    def __init__(
        self,
        repository: Path,
        log: Path,
        seed: int,
        link: Link | None = None,
        *,
        gateway: bool = True,
        tls: bool = False,
    ) -> None:
        """`link`: the model server is on the other host of this link, not on this one; `tls`: the hop is over TLS."""
        self._link = link
        host = THERE_ADDRESS if link else "127.0.0.1"
        random = np.random.default_rng(seed)
        rest, grpc, public, *lab = free_ports(3 + len(PORTS))
        self._with_gateway = gateway
        self.lab_ports = dict(zip(PORTS, map(str, lab), strict=True))
        self._scratch = scratch.folder()
        self._log = log.open("ab")
        self.environment = {
            "MODEL_REPOSITORY": str(repository),
            "MODEL_SERVER_HOST": host,
            "MODEL_SERVER_HTTP_PORT": str(rest),
            "MODEL_SERVER_GRPC_PORT": str(grpc),
            "MODEL_SERVER_GRPC_LIBRARY": "grpcio",  # the lean port is an arm of its own
            "GATEWAY_PORT": str(public),
            "GATEWAY_UPSTREAM_HEADER": "1",
            "DATA_DIR": self._scratch.name,
            "PYTHONHASHSEED": str(int(random.integers(0, 2**32))),
            "LAB_PADDING": "x" * int(random.integers(1, _PADDING)),
            "LOG_LEVEL": "warning",
            **self.lab_ports,
            SOCKETS: self._scratch.name,
        }
        self.gateway_address = ("127.0.0.1", public)
        self._secure = tls
        self.rest_url, self.grpc_target = f"http{'s' * tls}://{host}:{rest}", f"{host}:{grpc}"
        self._host = host
        authority = self._certified() if tls else None
        self.target = Target(
            self.grpc_target, self.rest_url, tls_ca=authority, options={**self.lab_ports, SOCKETS: self._scratch.name}
        )
        self._hop_ports = (rest, grpc, *lab)
        self.services: dict[str, ServiceProcess] = {}
        self.cold_start_s = 0.0

    def _certified(self) -> Path:
        """Give the model server a certificate, and the gateway the authority that it trusts (the same file)."""
        try:
            certificate, key = certificates.made(Path(self._scratch.name), ("127.0.0.1", THERE_ADDRESS))
        except certificates.CertificateError as error:
            raise FleetError(str(error)) from None
        self.environment |= {
            "MODEL_SERVER_TLS_CERT": str(certificate),
            "MODEL_SERVER_TLS_KEY": str(key),
            "UPSTREAM_TLS_CA": str(certificate),
        }
        return certificate

    def start(self) -> None:
        """Start both and wait until they are ready; FleetError when one is not."""
        began = time.monotonic()
        try:
            there = self._link.into_other_host if self._link else []
            wanted = [(MODEL_SERVER, "comparison.services.model_server", (self._host, self._hop_ports[0]), there)]
            if self._with_gateway:
                wanted.append((GATEWAY, "comparison.services.gateway", self.gateway_address, []))
            for name, module, address, through in wanted:
                secure = self._secure and name == MODEL_SERVER
                self.services[name] = ServiceProcess(
                    module, self.environment, address, self._log, through=through, secure=secure
                )
            for name, service in self.services.items():  # noqa: B007 - the name is for the sentence below
                service.await_ready()
        except StartError as error:
            raise FleetError(f"the {name} did not start ({error}); its log is {self._log.name}") from None
        self.cold_start_s = time.monotonic() - began

    def cpu_ns(self) -> dict[str, int]:
        """CPU time of each service so far, and of the wire where there is one."""
        spent = {name: cpu.family_cpu_ns(service.pid) for name, service in self.services.items()}
        if self._link:
            spent[WIRE] = cpu.process_cpu_ns(self._link.pid)
        return spent

    def hop_bytes(self) -> dict[bytes, int] | None:
        """Bytes over the hop so far: IP's over a link, else each TCP connection's; None where the kernel does not count."""
        if self._link:
            return {b"link": self._link.counters().bytes}
        try:
            return sockets.traffic(self._hop_ports)
        except sockets.NotCountedError:
            return None

    def packets(self) -> Counters | None:
        """What the link did so far; None without one."""
        return self._link.counters() if self._link else None

    def peak_memory(self) -> dict[str, int]:
        return {name: cpu.peak_memory_bytes(service.pid) for name, service in self.services.items()}

    def dead(self) -> str | None:
        """Which service has ended by itself, and where it may have said why."""
        if self._link and self._link.dead():
            return f"the {WIRE}"
        ended = next((name for name, service in self.services.items() if service.returncode() is not None), None)
        return f"the {ended} (its log is {self._log.name})" if ended else None

    def stop(self) -> None:
        for name in (GATEWAY, MODEL_SERVER):
            if name in self.services:
                self.services[name].stop(5)
        self._log.close()
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
