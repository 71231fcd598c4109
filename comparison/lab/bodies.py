"""Clients that send another body over the same lean HTTP/1.1 pool as the registered REST wires."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crossover.clients import rest
from crossover.comparison.lab.forms import FORMS, Form
from crossover.comparison.lab.wires import REST_PORT, address
from crossover.protocol import deadline, timeline
from crossover.protocol.errors import InferenceError, code_from_http
from crossover.protocol.inference import Wrapper
from crossover.transport.http1.client import HttpPool

if TYPE_CHECKING:
    from crossover.protocol.inference import CallContext, Inference
    from crossover.protocol.messages import InferRequest, InferResponse
    from crossover.protocol.wires import Target

_TIMELINE_HEADER = timeline.HEADER.encode()


def connect_protobuf(target: Target) -> Inference:
    return BodyClient(target, FORMS["protobuf"])


def connect_stdlib(target: Target) -> Inference:
    return BodyClient(target, FORMS["stdlib"])


def connect_base64(target: Target) -> Inference:
    return BodyClient(target, FORMS["base64"])


class BodyClient(Wrapper):
    """Sends infer calls in a form of the lab to the lab's endpoint; everything else goes over plain REST."""

    def __init__(self, target: Target, form: Form) -> None:
        super().__init__(rest.connect(target))
        self._form = form
        self._pool = HttpPool(f"http://{address(target, REST_PORT)}", connections=target.connections)

    async def infer(self, request: InferRequest, context: CallContext) -> InferResponse:
        body = self._form.encode_request(request)
        context.bytes_sent = len(body)
        context.mark("sent")
        headers = [("content-type", self._form.content_type)]
        if (left := deadline.to_header(context.deadline)) is not None:
            headers.append((deadline.TIMEOUT_HEADER, left))
        if context.timeline is not None:
            headers.append((timeline.HEADER, "1"))
        async with asyncio.timeout(deadline.timeout_of(context.deadline)):
            reply = await self._pool.request("POST", f"/{self._form.name}", headers, [body])
        context.bytes_received = len(reply.body)
        context.mark("answered")
        if context.timeline is not None:
            context.timeline.adopt(reply.headers.get(_TIMELINE_HEADER, b"").decode("latin-1"))
        if reply.status != 200:
            raise InferenceError(code_from_http(reply.status), bytes(reply.body[:200]).decode("utf-8", "replace"))
        response = self._form.decode_response(bytes(reply.body))
        context.mark("read")
        return response

    async def close(self) -> None:
        await self._pool.close()
        await self.inner.close()
