"""What a request says about the call behind it: which upstream, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.deadline import TIMEOUT_HEADER, after, from_header
from protocol.errors import Code, InferenceError
from rest_gateway.api.problems import Problem, bad_request, unprocessable

if TYPE_CHECKING:
    from starlette.requests import Request

    from protocol.inference import Inference
    from rest_gateway.predictions.running import Upstreams

UPSTREAM_HEADER = "Inference-Upstream"


@dataclass(frozen=True, slots=True)
class Calls:
    """Reads upstream and deadline of requests."""

    upstreams: Upstreams
    upstream_choice: bool
    default_timeout_ms: int | None

    def choose(self, request: Request, in_body: str | None = None, pointer: str = "") -> tuple[str, Inference]:
        """The upstream that the body names, or the header, or the setting: 422, 400 or 403 when it cannot be chosen.

        Where choosing is switched off, the header means nothing, as under /v2, but a body that asks for one is refused.
        """
        header = request.headers.get(UPSTREAM_HEADER) if self.upstream_choice else None
        name = in_body if in_body is not None else header
        if name is not None and not self.upstream_choice:
            raise Problem(
                403,
                Code.PERMISSION_DENIED,
                "this gateway does not let requests choose an upstream; setting GATEWAY_UPSTREAM_HEADER=1 would",
            )
        try:
            return self.upstreams.get(name)
        except InferenceError as error:
            if error.code is not Code.INVALID_ARGUMENT:
                raise
            if in_body is not None:
                raise unprocessable(error.message, f"{pointer}/upstream") from None
            raise bad_request(error.message) from None

    def deadline(self, request: Request) -> float:
        """The earlier of the header's and the setting's."""
        try:
            asked = from_header(request.headers.get(TIMEOUT_HEADER))
        except InferenceError as error:
            raise bad_request(error.message) from None
        default = None if self.default_timeout_ms is None else self.default_timeout_ms / 1000
        return min(asked, after(default))
