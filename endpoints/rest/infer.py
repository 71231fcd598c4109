"""POST /v2/models/{m}[/versions/{v}]/infer: the hot path.

Large JSON is read and written in a thread: it takes milliseconds, in which no other request could be served.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from crossover.endpoints.rest.compression import SMALLEST_COMPRESSED, compress, reply_coding, request_coding
from crossover.endpoints.rest.errors import no_memory
from crossover.endpoints.rest.types import Reply
from crossover.protocol import deadline
from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.codec import FRAMING_HEADER
from crossover.protocol.codecs.registry import codec_for
from crossover.protocol.codecs.sizes import memory_needed, reply_size, reply_too_large
from crossover.protocol.limits import HEAVY_BYTES, is_heavy

if TYPE_CHECKING:
    from crossover.endpoints.rest.types import Request
    from crossover.protocol.codecs.codec import Codec, Encoded
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.messages import InferRequest, InferResponse

_FIELDS: BoundedCache[tuple[str, int | None], tuple[tuple[bytes, bytes], ...]] = BoundedCache()
"""Header fields of replies by what they say of the body."""
_RAW_REQUEST = 0
"""The framing of a body that is the only input's bytes."""


def infer_at_once(request: Request) -> Reply | None:
    """The reply where it takes no waiting; None where `infer` has to be awaited."""
    codec, framing = _codec_of(request)
    if framing == _RAW_REQUEST or codec.text_size(len(request.body), framing) >= HEAVY_BYTES:
        return None
    route = request.route
    call, form = request.decoded = codec.decode_request(request.body, framing, route.model, route.version)
    _begin(call, request)
    ask = getattr(request.inference, "infer_now", None)
    response = ask(call, request.context) if ask is not None else None
    if response is None:
        return None
    least, text = reply_size(response, form)
    if text >= HEAVY_BYTES or ("accept-encoding" in request.headers and text + least >= SMALLEST_COMPRESSED):
        request.response = response
        return None
    return _plain(_encoded(request, response, form, least))


async def infer(request: Request) -> Reply:
    if request.decoded is None:
        request.decoded = await _decoded(request)
        _begin(request.decoded[0], request)
    call, form = request.decoded
    response = request.response or await request.inference.infer(call, request.context)
    least, text = reply_size(response, form)
    if text >= HEAVY_BYTES:
        encoded = await asyncio.to_thread(_encoded, request, response, form, least)
    else:
        encoded = _encoded(request, response, form, least)
    if "accept-encoding" in request.headers:
        return await _compressed(request, encoded)
    return _plain(encoded)


def _codec_of(request: Request) -> tuple[Codec, int | None]:
    """What reads the body and writes the reply, and the body's framing."""
    headers = request.headers
    codec = request.codec = codec_for(headers.get("content-type"))
    header = headers.get(FRAMING_HEADER)
    return codec, codec.framing(header, len(request.body)) if header is not None else None


def _begin(call: InferRequest, request: Request) -> None:
    """The request is read; its own time limit counts from now."""
    context = request.context
    if context.timeline is not None:
        context.timeline.mark("decoded")
    if call.shared is not None:
        request.options.control.check_shared_memory()
    objects = memory_needed(call.inputs)
    if objects > HEAVY_BYTES and not request.call.hold(objects):
        raise no_memory()
    if "timeout" in call.parameters:
        context.deadline = min(context.deadline, deadline.from_parameter(call.parameters["timeout"]))
        if request.limit is not None:
            request.limit.limit(context.deadline)
    deadline.check(context.deadline, "before the work was begun")


async def _decoded(request: Request) -> tuple[InferRequest, ReplyForm]:
    route, body = request.route, request.body
    codec, framing = _codec_of(request)
    if framing == _RAW_REQUEST:
        metadata = await request.inference.model_metadata(route.model, route.version, request.context)
        return binary_codec.decode_raw_request(body, metadata.inputs, route.model, route.version)
    if is_heavy(codec.text_size(len(body), framing)):
        return await asyncio.to_thread(codec.decode_request, body, framing, route.model, route.version)
    return codec.decode_request(body, framing, route.model, route.version)


def _encoded(request: Request, response: InferResponse, form: ReplyForm, least: int) -> Encoded:
    """The reply's body; TOO_LARGE where it would exceed the limit, before it is written where that can be told."""
    limit = request.options.max_message_bytes
    if least > limit:
        raise reply_too_large(limit)
    assert request.codec is not None
    encoded = request.codec.encode_response(response, form)
    if encoded.size > limit:
        raise reply_too_large(limit)
    return encoded


def _plain(encoded: Encoded) -> Reply:
    """The reply as it is without a coding."""
    key = encoded.media_type, encoded.header_length
    fields = _FIELDS.get(key)
    if fields is None:
        fields = tuple((name.encode(), value.encode()) for name, value in encoded.headers)
        _FIELDS.put(key, fields, 0)
    return Reply(200, [*fields], encoded.parts)


async def _compressed(request: Request, encoded: Encoded) -> Reply:
    """The reply in the coding that its client prefers."""
    reply = _plain(encoded)
    accept = request.headers["accept-encoding"]
    if encoded.size >= SMALLEST_COMPRESSED:
        coding = reply_coding(accept, request_coding(request.headers.get("content-encoding")))
        if coding is not None:
            reply.headers += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
            reply.parts = [await compress(encoded.parts, coding)]
    return reply
