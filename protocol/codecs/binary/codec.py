"""OIP's binary tensor data extension: a JSON head, then the raw bytes of tensors in the order of the head.

JSON and binary tensors may be mixed both ways. The header ``Inference-Header-Content-Length`` says where the JSON
ends (uncompressed); it is sent only when bytes follow. Its value 0 is the raw binary request: the body is the only
input. Tensors stay views on the body.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.codecs.binary.templates import (
    BinaryRequestTemplate,
    BinaryResponseTemplate,
    bytes_of,
    key_of,
    request_template,
    response_template,
)
from crossover.protocol.codecs.codec import BINARY_TYPE, FRAMING_HEADER, JSON_TYPE, Encoded
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.json.text import dumps
from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.datatypes import datatype
from crossover.protocol.errors import invalid
from crossover.protocol.messages import InferRequest, InferResponse
from crossover.protocol.names import shown
from crossover.protocol.tensors import Buffer, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH_HEADER = FRAMING_HEADER


_REQUESTS: BoundedCache[bytes | None, BinaryRequestTemplate] = BoundedCache()
_RESPONSES: BoundedCache[bytes | None, BinaryResponseTemplate] = BoundedCache()
_ENCODED: BoundedCache[object, bytes] = BoundedCache()


class Described(Protocol):
    """What metadata says of an input; a dimension of -1 varies."""

    name: str
    datatype: str

    @property
    def shape(self) -> Sequence[int]: ...


class BodyTail:
    """The bytes after the JSON, handed out in order."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def take(self, name: str, size: object) -> Buffer:
        if type(size) is not int or size < 0:
            raise invalid(f"binary_data_size of tensor '{name}' is {shown(size)}; it takes an integer, 0 or more")
        end = self._at + size
        if end > len(self._body):
            raise invalid(
                f"tensor '{name}' says binary_data_size {size}, but {len(self._body) - self._at} bytes are left"
            )
        data = self._body[self._at : end]
        self._at = end
        return data

    def check_used(self) -> None:
        unread = len(self._body) - self._at
        if unread:
            raise invalid(f"{unread} bytes of the body are left over after the last tensor")


def header_length(text: str | None, size: int) -> int | None:
    """The value of ``Inference-Header-Content-Length`` for a body of `size` bytes; None when the header is absent."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > size:
        raise invalid(
            f"header Inference-Header-Content-Length is '{text[:40]}'; it takes a number of bytes, at most {size}"
        )
    return int(text)


def decode_request(
    body: Buffer, length: int | None, model_name: str, model_version: str = ""
) -> tuple[InferRequest, ReplyForm]:
    """The request in a body whose JSON has `length` bytes (None: all of it)."""
    if length is None or length == len(body):
        return json_codec.decode_request(body, model_name, model_version)
    view = memoryview(body)
    key = bytes_of(view[:length])
    cached = _REQUESTS.get(key)
    if cached is not None and (decoded := cached.fill(view[length:], model_name, model_version)) is not None:
        return decoded
    tail = BodyTail(view[length:])
    request, form = json_codec.decode_request(view[:length], model_name, model_version, tail)
    tail.check_used()
    plain = key is not None and request.shared is None
    template = request_template(request, form, len(body) - length) if plain else None
    if template is not None:
        _REQUESTS.put(key, template, length)
    return request, form


def decode_raw_request(
    body: Buffer, inputs: Sequence[Described], model_name: str, model_version: str = ""
) -> tuple[InferRequest, ReplyForm]:
    """The request whose body is the only input's bytes (header value 0); its outputs come back as binary data."""
    if len(inputs) != 1:
        raise invalid(f"a raw binary request needs a model with one input; '{model_name}' has {len(inputs)}")
    tensor = _raw_input(inputs[0], body)
    return InferRequest(model_name, [tensor], model_version), ReplyForm(default=True)


def decode_response(body: Buffer, length: int | None) -> InferResponse:
    """The reply in a body whose JSON has `length` bytes (None: all of it)."""
    if length is None or length == len(body):
        return json_codec.decode_response(body)
    view = memoryview(body)
    key = bytes_of(view[:length])
    cached = _RESPONSES.get(key)
    if cached is not None and (decoded := cached.fill(view[length:])) is not None:
        return decoded
    tail = BodyTail(view[length:])
    response = json_codec.decode_response(view[:length], tail)
    tail.check_used()
    template = response_template(response, len(body) - length) if key is not None else None
    if template is not None:
        _RESPONSES.put(key, template, length)
    return response


def encode_request(request: InferRequest) -> Encoded:
    """The request with every input and every output as binary data."""
    outputs: tuple[str, ...] = ()
    cacheable = not request.id
    if request.outputs:
        outputs = tuple([output.name for output in request.outputs])
        cacheable = cacheable and not any(output.parameters for output in request.outputs)
    key = key_of(request.inputs, request.parameters, outputs) if cacheable else None
    head = _ENCODED.get(key)
    if head is None:
        inputs = [_binary(tensor) for tensor in request.inputs]
        head = dumps(json_codec.request_document(request, inputs, {"binary_data_output": True}))
        _keep(key, head)
    return _joined(head, request.inputs)


def encode_response(response: InferResponse, form: ReplyForm) -> Encoded:
    """The reply with the outputs that `form` asks for as binary data and the others as JSON."""
    if not (form.default or form.named):
        return Encoded([json_codec.encode_response(response)], None)
    binary = response.outputs
    if form.named:
        binary = [tensor for tensor in response.outputs if form.binary(tensor.name)]
    if response.shared:
        return _partly_shared(response, [tensor for tensor in binary if tensor.name not in response.shared])
    key = None
    if not response.id and len(binary) == len(response.outputs):
        key = key_of(binary, response.parameters, response.model_name, response.model_version)
    head = _ENCODED.get(key)
    if head is None:
        outputs = [
            _binary(tensor) if form.binary(tensor.name) else json_codec.with_data(tensor) for tensor in response.outputs
        ]
        head = dumps(json_codec.response_document(response, outputs))
        _keep(key, head)
    return _joined(head, binary)


def _partly_shared(response: InferResponse, binary: Sequence[Tensor]) -> Encoded:
    """A reply of which some outputs lie in shared memory; `binary` are those that follow as binary data."""
    here = {tensor.name for tensor in binary}
    outputs = [
        _binary(tensor) if tensor.name in here else json_codec.shared_or(json_codec.with_data, tensor, response)
        for tensor in response.outputs
    ]
    return _joined(dumps(json_codec.response_document(response, outputs)), binary)


def _keep(key: object, head: bytes) -> None:
    if key is not None:
        _ENCODED.put(key, head, len(head))


def _binary(tensor: Tensor) -> dict[str, Any]:
    item = json_codec.described(tensor)
    item["parameters"] = {"binary_data_size": len(tensor.raw)}
    return item


def _joined(head: bytes, binary: Sequence[Tensor]) -> Encoded:
    tail = [tensor.raw for tensor in binary if len(tensor.raw)]
    return Encoded([head, *tail], len(head), BINARY_TYPE) if tail else Encoded([head], None, JSON_TYPE)


def _raw_input(described: Described, body: Buffer) -> Tensor:
    row, shape = datatype(described.datatype), list(described.shape)
    if row.kind == "bytes":
        prefix = len(body).to_bytes(4, "little")
        return Tensor.from_raw(described.name, row.name, [1] * max(1, len(shape)), prefix + bytes(body))
    if shape.count(-1) > 1:
        raise invalid(
            f"a raw binary request cannot tell the shape of '{described.name}': {shape} has several variable dimensions"
        )
    if -1 in shape:
        row_bytes = math.prod(dim for dim in shape if dim != -1) * row.itemsize
        if not row_bytes or len(body) % row_bytes:
            raise invalid(
                f"the raw request has {len(body)} bytes; shape {shape} of {row.name} takes a multiple of {row_bytes}"
            )
        shape[shape.index(-1)] = len(body) // row_bytes
    return Tensor.from_raw(described.name, row.name, shape, body)
