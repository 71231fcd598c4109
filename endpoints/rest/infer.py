"""POST /v2/models/{m}[/versions/{v}]/infer: the hot path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.endpoints.rest.compression import SMALLEST_COMPRESSED, compress, reply_coding, request_coding
from crossover.endpoints.rest.errors import JSON_TYPE, Reply
from crossover.protocol import deadline
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.binary.codec import LENGTH_HEADER, Encoded

if TYPE_CHECKING:
    from crossover.endpoints.rest.types import Request
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.messages import InferRequest

_BINARY_TYPE = (b"content-type", b"application/octet-stream")
_LENGTH_HEADER = LENGTH_HEADER.encode()


def infer_now(request: Request) -> Reply | None:
    """The reply where it takes no waiting; None where `infer` has to be awaited."""
    ask = getattr(request.inference, "infer_now", None)
    if ask is None:
        return None
    length = binary_codec.header_length(request.headers.get(LENGTH_HEADER), len(request.body))
    if length == 0 or "accept-encoding" in request.headers:
        return None
    call, form = request.decoded = binary_codec.decode_request(
        request.body, length, request.route.model, request.route.version
    )
    _begin(call, request)
    response = ask(call, request.context)
    return None if response is None else _plain(binary_codec.encode_response(response, form))


async def infer(request: Request) -> Reply:
    if request.decoded is None:
        request.decoded = await _decoded(request)
        _begin(request.decoded[0], request)
    call, form = request.decoded
    response = await request.inference.infer(call, request.context)
    return await _reply(request, binary_codec.encode_response(response, form))


def _begin(call: InferRequest, request: Request) -> None:
    """The request is read; its own time limit counts from now."""
    context = request.context
    context.mark("decoded")
    if "timeout" in call.parameters:
        context.deadline = min(context.deadline, deadline.from_parameter(call.parameters["timeout"]))
        if request.guard is not None:
            request.guard.limit(context.deadline)
    deadline.check(context.deadline, "before the work was begun")


async def _decoded(request: Request) -> tuple[InferRequest, ReplyForm]:
    route, body = request.route, request.body
    length = binary_codec.header_length(request.headers.get(LENGTH_HEADER), len(body))
    if length != 0:
        return binary_codec.decode_request(body, length, route.model, route.version)
    metadata = await request.inference.model_metadata(route.model, route.version, request.context)
    return binary_codec.decode_raw_request(body, metadata.inputs, route.model, route.version)


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
