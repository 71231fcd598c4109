"""The answering side of the lab's bodies: POST /{form}, the request in that form, the reply in the same.

It is the plain routes' own endpoint with other handlers, so that an arm differs from `rest-binary` in its encoding alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.comparison.lab.forms import FORMS
from crossover.endpoints.rest.answering import RestEndpoint
from crossover.endpoints.rest.routes import NOWHERE, Route
from crossover.endpoints.rest.types import Reply, Request, RestOptions
from crossover.protocol import deadline
from crossover.protocol.codecs.reply_form import ReplyForm

if TYPE_CHECKING:
    from crossover.protocol.inference import Inference
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.service.metrics import Observer
    from crossover.transport.http1.messages import RequestHead

_OPTIONS = RestOptions(max_message_bytes=1 << 30)
_ROUTES = {f"/{name}".encode(): Route("lab", ("POST",), name) for name in FORMS}


class LabRest(RestEndpoint):
    """The lab's forms around `inference`."""

    def __init__(self, inference: Inference, observer: Observer) -> None:
        super().__init__(
            lambda _: (None, inference), _match, {"lab": _infer}, {"lab": _infer_at_once}, settings=_OPTIONS,
            observer=observer,
        )  # fmt: skip


def _match(head: RequestHead) -> Route:
    return _ROUTES.get(head.path, NOWHERE)


def _infer_at_once(request: Request) -> Reply | None:
    ask = getattr(request.inference, "infer_now", None)
    if ask is None:
        return None
    response = ask(_call(request), request.context)
    return None if response is None else _encoded(request, response)


async def _infer(request: Request) -> Reply:
    return _encoded(request, await request.inference.infer(_call(request), request.context))


def _call(request: Request) -> InferRequest:
    """The request's call, read once."""
    if request.decoded is None:
        request.decoded = FORMS[request.route.model].decode_request(bytes(request.body)), ReplyForm()
        request.context.mark("decoded")
        deadline.check(request.context.deadline, "before the work was begun")
    return request.decoded[0]


def _encoded(request: Request, response: InferResponse) -> Reply:
    form = FORMS[request.route.model]
    return Reply(200, [(b"content-type", form.content_type.encode())], [form.encode_response(response)])
