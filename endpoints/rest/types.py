"""What a REST endpoint allows, and what a request is to its handlers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.endpoints.control_policy import EVERYTHING, ControlPolicy
from crossover.transport.http1.asgi import ASGIApp, Receive, Scope, Send
from crossover.transport.http1.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossover.endpoints.rest.routes import Route
    from crossover.protocol.codecs.codec import Codec
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.inference import CallContext, Inference
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.service.tracing import Tracer
    from crossover.transport.http1.messages import Buffer
    from crossover.transport.time_limit import TimeLimit

__all__ = ["ASGIApp", "Receive", "Reply", "Request", "RestOptions", "Scope", "Send"]


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
    """Send ``Server-Timing`` with infer replies."""
    tracer: Tracer | None = None
    """Makes spans of infer requests; None: nobody does."""


@dataclass(slots=True)
class Request:
    """One request after its body was read."""

    route: Route
    headers: dict[str, str]
    body: Buffer
    context: CallContext
    inference: Inference
    options: RestOptions
    hold: Callable[[int], bool] | None = None
    """Counts memory that the request takes beside its body; False where the requests in flight may have no more."""
    limit: TimeLimit | None = None
    """What keeps the deadline; None while nothing is waited for."""
    codec: Codec | None = None
    """What reads the body of an infer call and writes its reply."""
    decoded: tuple[InferRequest, ReplyForm] | None = None
    """The infer call in it, once that was read."""
    response: InferResponse | None = None
    """Its answer, where that was given at once and is too large to be written at once."""
