"""How a gRPC call ends, whichever library made it, and what that means to our caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.grpc_errors import DETAILS_KEY, error_from_status

if TYPE_CHECKING:
    from crossover.protocol.tensors import Buffer
    from crossover.transport.grpc.messages import Metadata


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended."""

    code: int
    """gRPC's status number."""
    details: str
    trailing: Metadata = ()


class CallFailedError(Exception):
    """The call ended with another status than OK."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.details)
        self.ended = ended


class ClientClosedError(Exception):
    """A call was made after the client had been closed."""


class Method(Protocol):
    """One unary method of a service, called with bytes."""

    async def call(
        self, data: bytes, until: float, metadata: tuple[tuple[str, str], ...], *, trailing: bool = False
    ) -> tuple[Buffer, Metadata]:
        """The reply to the message `data`, and its trailing metadata where they are wanted.

        `until` is a deadline (see protocol/deadline.py). CallFailedError for every other status than OK;
        ClientClosedError when the transport is closed.
        """
        ...


class Transport(Protocol):
    """What carries unary calls. It opens no connection before the first call."""

    def method(self, path: str) -> Method:
        """The method at `path`, such as ``/package.Service/Method``."""
        ...

    async def close(self) -> None:
        """End the calls under way and close the connection."""
        ...


def error_of(ended: Ended, target: str) -> InferenceError:
    """What a failed call means: our code where the service told it, else the nearest one."""
    details = next((value for key, value in ended.trailing if key == DETAILS_KEY and isinstance(value, bytes)), None)
    return error_from_status(ended.code, ended.details, details, target)


def unreadable(error: InferenceError, target: str) -> InferenceError:
    """A reply that breaks the protocol is not its caller's fault."""
    return InferenceError(Code.UNKNOWN, f"the reply of {target} cannot be read: {error.message}")
