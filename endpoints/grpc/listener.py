"""What gRPC ports have in common, whichever library listens on them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2_grpc

from crossover.endpoints.grpc import reflection
from crossover.endpoints.grpc.guard import Guarded
from crossover.endpoints.grpc.health import Health
from crossover.endpoints.grpc.servicer import GrpcOptions, Servicer

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc

    from crossover.protocol.inference import Inference
    from crossover.service.metrics import Observer
    from crossover.transport.tls import Tls


@dataclass(frozen=True, slots=True)
class HandlerCallDetails:
    """What a registry of handlers asks for (grpc.HandlerCallDetails)."""

    method: str
    invocation_metadata: tuple[()] = ()


class Handlers(list["grpc.GenericRpcHandler"]):
    """The handlers of a port. Generated code adds to it as to a server."""

    def of(self, path: str) -> Any:
        """The handler of a method; None when there is no such method."""
        handlers = (each.service(HandlerCallDetails(path)) for each in self)
        return next((handler for handler in handlers if handler is not None), None)

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self.extend(handlers)

    def add_registered_method_handlers(self, service: str, methods: Any) -> None:
        """The same handlers a second time, for a shorter way through grpcio's core that makes no difference here."""


class Listener(ABC):
    """Serves an `Inference` on one host and port (or `unix:PATH` as the host); `port` is the real one after `start`."""

    def __init__(
        self,
        inference: Inference,
        host: str,
        port: int,
        tls: Tls | None = None,
        options: GrpcOptions | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.options = options or GrpcOptions()
        self._inference = inference
        self._observer = observer
        self._draining: asyncio.Event | None = None
        self._leaving = asyncio.Event()

    async def start(self) -> None:
        """Bind and serve; OSError or ValueError, one sentence, when the address or a certificate cannot be used."""
        servicer = Servicer(self._inference, self.options, self._observer)
        handlers = Handlers([servicer.handlers()])
        beside = Handlers()
        health_pb2_grpc.add_HealthServicer_to_server(Health(self._inference, servicer.draining), beside)
        reflection.add_to(beside)
        door = self.options.door
        handlers.extend(beside if door is None else (Guarded(each, door) for each in beside))
        await self._open(handlers)
        self._draining, self._leaving = servicer.draining, servicer.leaving

    def drain(self) -> None:
        """Go on accepting and answering, and tell those who are connected to go elsewhere.

        grpcio has no GOAWAY for a server that goes on accepting: its clients are told when it stops, and by health.
        """
        self._leaving.set()

    async def stop(self, grace_seconds: float) -> None:
        """Accept nothing more, let calls in flight finish for at most `grace_seconds`, then end them.

        Streams that would go on for ever (ModelStreamInfer, Watch) end as soon as what is under way on them is answered.
        """
        draining, self._draining = self._draining, None
        if draining is not None:
            self._leaving.set()
            draining.set()
            await self._close(grace_seconds)

    @abstractmethod
    async def _open(self, handlers: Handlers) -> None:
        """Listen; what was opened is closed again when that fails."""

    @abstractmethod
    async def _close(self, grace_seconds: float) -> None:
        """The other half of `stop`."""
