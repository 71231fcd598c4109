"""How a gRPC call ends, whichever library made it, and what carries unary calls as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from crossover.protocol.errors import PortableError

if TYPE_CHECKING:
    from crossover.protocol.tensors import Buffer
    from crossover.transport.grpc.messages import Metadata


@dataclass(frozen=True, slots=True)
class Status:
    """The end of a call."""

    code: int
    """gRPC's status number."""
    details: str
    trailing: Metadata = ()


class CallFailedError(PortableError):
    """The call ended with another status than OK."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.details)
        self.status = status


class ClientClosedError(Exception):
    """A call was made after the client had been closed."""


class UnaryMethod(Protocol):
    """One unary method of a service, called with bytes."""

    async def call(
        self, data: bytes, until: float, metadata: tuple[tuple[str, str], ...], *, trailing: bool = False
    ) -> tuple[Buffer, Metadata]:
        """The reply to the message `data`, and its trailing metadata where they are wanted.

        `until` is a deadline (see protocol/deadline.py). CallFailedError for every other status than OK;
        ClientClosedError when the transport is closed.
        """
        ...


class UnaryTransport(Protocol):
    """What carries unary calls. It opens no connection before the first call."""

    def method(self, path: str) -> UnaryMethod:
        """The method at `path`, such as ``/package.Service/Method``."""
        ...

    async def close(self) -> None:
        """End the calls under way and close the connection."""
        ...
