"""The answering side of the lab's bodies: an ASGI application that does for a request what the plain routes do.

It uses the same pieces (guard against clients that leave, limit on the body, observer, context), so that an arm differs
from `rest-binary` in its encoding alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from crossover.comparison.lab.forms import FORMS
from crossover.endpoints.rest.body import read_body
from crossover.endpoints.rest.errors import Reply, as_inference_error, error_reply
from crossover.endpoints.rest.guard import Guard
from crossover.protocol import deadline, timeline
from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.inference import CallContext

if TYPE_CHECKING:
    from crossover.endpoints.rest.types import Receive, Scope, Send
    from crossover.protocol.inference import Inference
    from crossover.service.metrics import Observer

_MAX_BYTES = 1 << 30


class LabRest:
    """POST /{form}: the request in that form, the reply in the same."""

    def __init__(self, inference: Inference, observer: Observer) -> None:
        self._inference = inference
        self._observer = observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        began = time.perf_counter()
        self._observer.started("rest")
        reply, code = await self._reply(scope, receive)
        size = sum(map(len, reply.parts))
        reply.headers.append((b"content-length", b"%d" % size))
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.parts[0]})
        self._observer.finished("rest", "lab", "", code, time.perf_counter() - began)

    async def _reply(self, scope: Scope, receive: Receive) -> tuple[Reply, Code | None]:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        guard: Guard | None = None
        try:
            form = FORMS.get(scope["path"][1:])
            if form is None:
                raise InferenceError(Code.NOT_FOUND, f"{scope['path']} is not a form of the lab")
            context = CallContext(deadline.from_header(headers.get(deadline.TIMEOUT_HEADER)))
            if timeline.HEADER in headers:
                context.timeline = timeline.Timeline()
            guard = Guard(receive, context.deadline)
            body = await read_body(receive, headers, _MAX_BYTES)
            guard.body_read()
            context.mark("received")
            request = form.decode_request(body)
            context.mark("decoded")
            encoded = form.encode_response(await self._inference.infer(request, context))
            reply = Reply(200, [(b"content-type", form.content_type.encode())], [encoded])
            if context.timeline is not None:
                context.timeline.mark("encoded")
                reply.headers.append((timeline.HEADER.encode(), context.timeline.to_header().encode()))
            return reply, None
        except Exception as caught:  # noqa: BLE001 - the last handler
            error = as_inference_error(caught)
            return error_reply(error), error.code
        finally:
            if guard is not None:
                guard.close()


async def lifespan(receive: Receive, send: Send) -> None:
    """ASGI's lifespan for an application that has nothing to open."""
    while (message := await receive())["type"] != "lifespan.shutdown":
        await send({"type": f"{message['type']}.complete"})
    await send({"type": "lifespan.shutdown.complete"})
