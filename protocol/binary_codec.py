"""OIP's binary tensor data extension: a JSON head, then the raw bytes of tensors in the order of the head.

JSON and binary tensors may be mixed both ways. The header ``Inference-Header-Content-Length`` says where the JSON
ends (uncompressed); it is sent only when bytes follow. Its value 0 is the raw binary request: the body is the only
input. Tensors stay views on the body.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from protocol import json_codec
from protocol.datatypes import datatype
from protocol.errors import invalid
from protocol.json_text import dumps
from protocol.messages import InferRequest, InferResponse
from protocol.reply_form import ReplyForm
from protocol.tensors import Buffer, Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

LENGTH_HEADER = "inference-header-content-length"


class Described(Protocol):
    """What metadata says of an input; a dimension of -1 varies."""

    name: str
    datatype: str

    @property
    def shape(self) -> Sequence[int]: ...


@dataclass(slots=True)
class Encoded:
    """A message as the parts of its body; `header_length` is None when all of it is JSON."""

    parts: list[Buffer]
    header_length: int | None

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))


class BodyTail:
    """The bytes after the JSON, handed out in order."""

    def __init__(self, body: memoryview) -> None:
        self._body = body
        self._at = 0

    def take(self, name: str, size: object) -> Buffer:
        if type(size) is not int or size < 0:
            raise invalid(f"binary_data_size of tensor '{name}' is {str(size)[:40]}; it takes an integer, 0 or more")
        end = self._at + size
        if end > len(self._body):
            raise invalid(
                f"tensor '{name}' says binary_data_size {size}, but {len(self._body) - self._at} bytes are left"
            )
        found = self._body[self._at : end]
        self._at = end
        return found

    def check_used(self) -> None:
        left = len(self._body) - self._at
        if left:
            raise invalid(f"{left} bytes of the body are left over after the last tensor")


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
    head, tail = _split(body, length)
    decoded = json_codec.decode_request(head, model_name, model_version, tail)
    tail.check_used()
    return decoded


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
    head, tail = _split(body, length)
    response = json_codec.decode_response(head, tail)
    tail.check_used()
    return response


def encode_request(request: InferRequest) -> Encoded:
    """The request with every input and every output as binary data."""
    tail: list[Buffer] = []
    inputs = [_binary(tensor, tail) for tensor in request.inputs]
    document = json_codec.request_document(request, inputs, {"binary_data_output": True})
    return _joined(dumps(document), tail)


def encode_response(response: InferResponse, form: ReplyForm) -> Encoded:
    """The reply with the outputs that `form` asks for as binary data and the others as JSON."""
    if not (form.default or form.named):
        return Encoded([json_codec.encode_response(response)], None)
    tail: list[Buffer] = []
    outputs = [
        _binary(tensor, tail) if form.binary(tensor.name) else json_codec.with_data(tensor)
        for tensor in response.outputs
    ]
    return _joined(dumps(json_codec.response_document(response, outputs)), tail)


def _split(body: Buffer, length: int) -> tuple[memoryview, BodyTail]:
    view = memoryview(body)
    return view[:length], BodyTail(view[length:])


def _binary(tensor: Tensor, tail: list[Buffer]) -> dict[str, Any]:
    raw = tensor.raw
    if len(raw):
        tail.append(raw)
    item = json_codec.described(tensor)
    item["parameters"] = {"binary_data_size": len(raw)}
    return item


def _joined(head: bytes, tail: list[Buffer]) -> Encoded:
    return Encoded([head, *tail], len(head) if tail else None)


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
