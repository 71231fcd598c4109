"""What a request says about the call behind it: which upstream, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.protocol.deadline import TIMEOUT_HEADER, after, from_header
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext
from crossover.protocol.propagation import PROPAGATED, REQUEST_ID
from crossover.rest_gateway.api.problems import Problem, bad_request, unprocessable
from crossover.rest_gateway.upstreams import NOT_CHOOSABLE
from crossover.service.log import request_id
from crossover.service.tracing import current

if TYPE_CHECKING:
    from starlette.requests import Request

    from crossover.protocol.inference import Inference
    from crossover.protocol.timeline import Timeline
    from crossover.rest_gateway.predictions.running import UpstreamLookup

UPSTREAM_HEADER = "Inference-Upstream"


@dataclass(frozen=True, slots=True)
class Calls:
    """Reads upstream and deadline of requests."""

    upstreams: UpstreamLookup
    upstream_choice: bool
    default_timeout_ms: int | None

    def choose(self, request: Request, named: str | None = None, pointer: str | None = None) -> tuple[str, Inference]:
        """The upstream that is `named`, or the header's, or the setting's.

        One that does not exist is 422 when a body named it (`pointer` says where), else 400. Where choosing is switched
        off, naming one is 403, as under /v2.
        """
        name = named if named is not None else request.headers.get(UPSTREAM_HEADER)
        if name is not None and not self.upstream_choice:
            raise Problem(403, Code.PERMISSION_DENIED, NOT_CHOOSABLE)
        try:
            return self.upstreams.get(name)
        except InferenceError as error:
            if error.code is not Code.INVALID_ARGUMENT:
                raise
            if named is not None and pointer is not None:
                raise unprocessable(error.message, f"{pointer}/upstream") from None
            raise bad_request(error.message) from None

    def context(self, request: Request, timeline: Timeline | None = None) -> CallContext:
        """What travels with the call: the deadline, and the headers by which a request is followed through services."""
        headers = {name: value for name in PROPAGATED if (value := request.headers.get(name))}
        if identity := request_id.get():
            headers[REQUEST_ID] = identity
        context = CallContext(self._deadline(request), timeline, headers)
        if (trace := current.get()) is not None:
            trace.follow(context)
        return context

    def _deadline(self, request: Request) -> float:
        """The earlier of the header's and the setting's."""
        try:
            requested = from_header(request.headers.get(TIMEOUT_HEADER))
        except InferenceError as error:
            raise bad_request(error.message) from None
        default = None if self.default_timeout_ms is None else self.default_timeout_ms / 1000
        return min(requested, after(default))
