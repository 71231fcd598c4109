"""What a REST endpoint allows, and what a request is to its handlers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from crossover.endpoints.control_policy import EVERYTHING, ControlPolicy
from crossover.transport.http1.asgi import ASGIApp, Receive, Scope, Send
from crossover.transport.http1.messages import Reply

if TYPE_CHECKING:
    from crossover.endpoints.rest.routes import Route
    from crossover.protocol.codecs.codec import Codec
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.errors import Code
    from crossover.protocol.inference import CallContext, Inference
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.service.tracing import Trace, Tracer
    from crossover.transport.http1.messages import Buffer, RequestHead
    from crossover.transport.time_limit import TimeLimit

__all__ = ["ASGIApp", "Call", "Receive", "Reply", "Request", "RestOptions", "Scope", "Send"]


@dataclass(frozen=True, slots=True)
class RestOptions:
    """What an OIP REST endpoint allows."""

    max_message_bytes: int = 64 << 20
    """Largest body in bytes, as sent and decompressed."""
    default_timeout_ms: int | None = None
    """Upper bound of every call's time; a request can only ask for less."""
    control: ControlPolicy = EVERYTHING
    """What is allowed of load and unload."""
    is_gateway: bool = False
    """Another service stands behind this one, and gets another key than the caller's."""
    timing: bool = False
    """Send ``Server-Timing`` with the replies of infer requests that ask for their timeline, and of a few others a second."""
    tracer: Tracer | None = None
    """Makes spans of infer requests; None: nobody does."""


class Call(Protocol):
    """A request as it was brought: `transport.http1.exchange.Exchange`, or `AsgiCall`."""

    @property
    def head(self) -> RequestHead: ...

    @property
    def body(self) -> Buffer | None:
        """The body, if all of it is here."""
        ...

    @property
    def request_id(self) -> str:
        """The caller's `x-request-id`, or one that was made for it."""
        ...

    @property
    def gone(self) -> bool:
        """The client has closed the connection; the task that answers is cancelled then."""
        ...

    def ask(self) -> None:
        """The body is wanted."""
        ...

    def hold(self, size: int) -> bool:
        """Count memory that the request takes; False where the requests in flight may have no more."""
        ...

    async def read(self, limit: int) -> Buffer: ...

    def reply(self, reply: Reply) -> None:
        """Send the answer."""
        ...


@dataclass(slots=True)
class Request:
    """One request from its head to its reply."""

    call: Call
    route: Route
    headers: dict[str, str]
    options: RestOptions
    began: float
    """When its head had come, on the performance counter."""
    context: CallContext = field(init=False)
    inference: Inference = field(init=False)
    upstream: str | None = None
    """Name of what was chosen to answer it, where there is a choice."""
    trace: Trace | None = None
    code: Code | None = None
    """Why it failed."""
    body: Buffer = b""
    received: bool = False
    """Whether `body` was read."""
    limit: TimeLimit | None = None
    """What keeps the deadline; None while nothing is waited for."""
    codec: Codec | None = None
    """What reads the body of an infer call and writes its reply."""
    decoded: tuple[InferRequest, ReplyForm] | None = None
    """The infer call in it, once that was read."""
    response: InferResponse | None = None
    """Its answer, where that was given at once and is too large to be written at once."""
