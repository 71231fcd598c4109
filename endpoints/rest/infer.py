"""POST /v2/models/{m}[/versions/{v}]/infer: the hot path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from endpoints.rest.compression import SMALLEST_COMPRESSED, compress, reply_coding, request_coding
from endpoints.rest.errors import JSON_TYPE, Headers, Reply
from protocol import binary_codec, deadline
from protocol.binary_codec import LENGTH_HEADER, Encoded

if TYPE_CHECKING:
    from endpoints.rest.types import Request
    from protocol.messages import InferRequest
    from protocol.reply_form import ReplyForm

_BINARY_TYPE = (b"content-type", b"application/octet-stream")
_LENGTH_HEADER = LENGTH_HEADER.encode()


async def infer(request: Request) -> Reply:
    call, form = await _decoded(request)
    context = request.context
    context.mark("decoded")
    if "timeout" in call.parameters:
        context.deadline = min(context.deadline, deadline.from_parameter(call.parameters["timeout"]))
        request.guard.limit(context.deadline)
    deadline.check(context.deadline, "before the work was begun")
    response = await request.inference.infer(call, context)
    return await _reply(request, binary_codec.encode_response(response, form))


async def _decoded(request: Request) -> tuple[InferRequest, ReplyForm]:
    route, body = request.route, request.body
    length = binary_codec.header_length(request.headers.get(LENGTH_HEADER), len(body))
    if length != 0:
        return binary_codec.decode_request(body, length, route.model, route.version)
    metadata = await request.inference.model_metadata(route.model, route.version, request.context)
    return binary_codec.decode_raw_request(body, metadata.inputs, route.model, route.version)


async def _reply(request: Request, encoded: Encoded) -> Reply:
    headers: Headers = [JSON_TYPE]
    if encoded.header_length is not None:
        headers = [_BINARY_TYPE, (_LENGTH_HEADER, str(encoded.header_length).encode())]
    accept = request.headers.get("accept-encoding")
    if accept is not None and encoded.size >= SMALLEST_COMPRESSED:
        coding = reply_coding(accept, request_coding(request.headers.get("content-encoding")))
        if coding is not None:
            headers.append((b"content-encoding", coding.encode()))
            headers.append((b"vary", b"accept-encoding"))
            return Reply(200, headers, [await compress(encoded.parts, coding)])
    return Reply(200, headers, encoded.parts)
