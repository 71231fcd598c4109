"""Types of the ASGI interface, and what a request is to the handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from crossover.endpoints.rest.guard import Guard
    from crossover.endpoints.rest.routes import Route
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.inference import CallContext, Inference
    from crossover.protocol.messages import InferRequest
    from crossover.transport.time_limit import TimeLimit

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RestOptions:
    """What an OIP REST endpoint allows."""

    max_message_bytes: int = 64 << 20
    """Largest body in bytes, as sent and decompressed."""
    default_timeout_ms: int | None = None
    """Upper bound of every call's time; a request can only ask for less."""
    repository_control: bool = True
    """False: load and unload are PERMISSION_DENIED."""
    uploads: bool = True
    """False: a load that brings its own files or configuration is PERMISSION_DENIED."""
    timing: bool = False
    """Send ``Server-Timing`` with infer replies."""


@dataclass(slots=True)
class Request:
    """One request after its body was read."""

    route: Route
    headers: dict[str, str]
    body: bytes
    context: CallContext
    inference: Inference
    options: RestOptions
    guard: Guard | TimeLimit | None = None
    """What keeps the deadline; None while nothing is waited for."""
    decoded: tuple[InferRequest, ReplyForm] | None = None
    """The infer call in it, once that was read."""
