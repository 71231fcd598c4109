"""POST /v2/models/{m}[/versions/{v}]/infer: the hot path.

Large JSON is read and written in a thread: it takes milliseconds, in which no other request could be served.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crossover.endpoints.rest.compression import SMALLEST_COMPRESSED, compress, reply_coding, request_coding
from crossover.endpoints.rest.errors import JSON_TYPE, too_large
from crossover.endpoints.rest.types import Reply
from crossover.protocol import deadline
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.binary.codec import LENGTH_HEADER, Encoded

if TYPE_CHECKING:
    from crossover.endpoints.rest.types import Request
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.messages import InferRequest, InferResponse

_BINARY_TYPE = (b"content-type", b"application/octet-stream")
_LENGTH_HEADER = LENGTH_HEADER.encode()
LARGE_JSON_BYTES = 256 << 10
"""JSON of a request from which on it is read in a thread."""
LARGE_JSON_ELEMENTS = 32 << 10
"""Elements of a reply's JSON tensors from which on it is written in one."""
_LEAST_ELEMENT_BYTES = 2
"""Of an element in JSON: a digit and a comma."""


def infer_at_once(request: Request) -> Reply | None:
    """The reply where it takes no waiting; None where `infer` has to be awaited."""
    ask = getattr(request.inference, "infer_now", None)
    if ask is None:
        return None
    length = binary_codec.header_length(request.headers.get(LENGTH_HEADER), len(request.body))
    if length == 0 or "accept-encoding" in request.headers or _json_bytes(request, length) >= LARGE_JSON_BYTES:
        return None
    call, form = request.decoded = binary_codec.decode_request(
        request.body, length, request.route.model, request.route.version
    )
    _begin(call, request)
    response = ask(call, request.context)
    if response is None:
        return None
    if _json_elements(response, form) >= LARGE_JSON_ELEMENTS:
        request.response = response
        return None
    return _plain(_encoded(request, response, form))


async def infer(request: Request) -> Reply:
    if request.decoded is None:
        request.decoded = await _decoded(request)
        _begin(request.decoded[0], request)
    call, form = request.decoded
    response = request.response or await request.inference.infer(call, request.context)
    if _json_elements(response, form) < LARGE_JSON_ELEMENTS:
        return await _reply(request, _encoded(request, response, form))
    return await _reply(request, await asyncio.to_thread(_encoded, request, response, form))


def _json_bytes(request: Request, length: int | None) -> int:
    return len(request.body) if length is None else length


def _begin(call: InferRequest, request: Request) -> None:
    """The request is read; its own time limit counts from now."""
    context = request.context
    context.mark("decoded")
    if "timeout" in call.parameters:
        context.deadline = min(context.deadline, deadline.from_parameter(call.parameters["timeout"]))
        if request.limit is not None:
            request.limit.limit(context.deadline)
    deadline.check(context.deadline, "before the work was begun")


async def _decoded(request: Request) -> tuple[InferRequest, ReplyForm]:
    route, body = request.route, request.body
    length = binary_codec.header_length(request.headers.get(LENGTH_HEADER), len(body))
    if length == 0:
        metadata = await request.inference.model_metadata(route.model, route.version, request.context)
        return binary_codec.decode_raw_request(body, metadata.inputs, route.model, route.version)
    if _json_bytes(request, length) < LARGE_JSON_BYTES:
        return binary_codec.decode_request(body, length, route.model, route.version)
    return await asyncio.to_thread(binary_codec.decode_request, body, length, route.model, route.version)


def _json_elements(response: InferResponse, form: ReplyForm) -> int:
    """Elements of the outputs that are sent as JSON."""
    return sum([tensor.count for tensor in response.outputs if not form.binary(tensor.name)])


def _encoded(request: Request, response: InferResponse, form: ReplyForm) -> Encoded:
    """The reply's body; TOO_LARGE where it would exceed the limit, before it is written where that can be told."""
    limit = request.options.max_message_bytes
    least = sum(
        [
            _LEAST_ELEMENT_BYTES * tensor.count if not form.binary(tensor.name) or tensor.datatype.kind == "bytes"
            else tensor.nbytes
            for tensor in response.outputs
        ]
    )  # fmt: skip
    if least > limit:
        raise too_large(limit)
    encoded = binary_codec.encode_response(response, form)
    if encoded.size > limit:
        raise too_large(limit)
    return encoded


def _plain(encoded: Encoded) -> Reply:
    """The reply as it is without a coding."""
    if encoded.header_length is None:
        return Reply(200, [JSON_TYPE], encoded.parts)
    return Reply(200, [_BINARY_TYPE, (_LENGTH_HEADER, str(encoded.header_length).encode())], encoded.parts)


async def _reply(request: Request, encoded: Encoded) -> Reply:
    reply = _plain(encoded)
    accept = request.headers.get("accept-encoding")
    if accept is not None and encoded.size >= SMALLEST_COMPRESSED:
        coding = reply_coding(accept, request_coding(request.headers.get("content-encoding")))
        if coding is not None:
            reply.headers += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
            reply.parts = [await compress(encoded.parts, coding)]
    return reply
