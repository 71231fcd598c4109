"""How large messages are in memory and on a wire, computed from their tensors before anything is made or written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.limits import BYTES_ELEMENT_COST

if TYPE_CHECKING:
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.messages import InferResponse
    from crossover.protocol.tensors import Tensor

_LEAST_JSON_ELEMENT = 2
"""An element in JSON is a digit and a comma at least."""
TYPICAL_JSON_ELEMENT = 4
"""A number in JSON has about so many bytes."""
_LEAST_VARINT, _LEAST_TEXT = 1, 2
"""Typed contents: an integer or boolean is a byte at least, an element of BYTES a tag and its length."""
_LEAST_BYTES_ELEMENT = 4
"""An element of BYTES in raw form is its length at least."""


def memory_needed(tensors: Iterable[Tensor]) -> int:
    """Bytes of memory that tensors take beside their body once their elements are made: BYTES become objects, numbers stay."""
    needed = 0
    for tensor in tensors:
        if not tensor.datatype.itemsize:
            needed += tensor.nbytes + BYTES_ELEMENT_COST * math.prod(tensor.shape)
    return needed


def typed_size_at_least(response: InferResponse) -> int:
    """Bytes that the reply's tensors take at least in typed contents."""
    size = 0
    for tensor in response.outputs:
        kind = tensor.datatype
        least = kind.itemsize if kind.kind == "float" else _LEAST_VARINT if kind.itemsize else _LEAST_TEXT
        size += tensor.count * least
    return size


def raw_size_at_least(response: InferResponse) -> int:
    """Bytes that the reply's tensors take at least in raw form, computed before anything is written."""
    size = 0
    for tensor in response.outputs:
        if response.shared and tensor.name in response.shared:
            continue
        size += tensor.nbytes if tensor.datatype.itemsize else _LEAST_BYTES_ELEMENT * tensor.count
    return size


def reply_size(response: InferResponse, form: ReplyForm) -> tuple[int, int]:
    """The size of a REST reply of that form, from its tensors: bytes at least, and about how many of them are JSON."""
    raw = elements = 0
    for tensor in response.outputs:
        if response.shared and tensor.name in response.shared:
            continue
        if not (form.binary(tensor.name) if form.named else form.default):
            elements += tensor.count
        else:
            raw += tensor.nbytes if tensor.datatype.itemsize else _LEAST_BYTES_ELEMENT * tensor.count
    return raw + _LEAST_JSON_ELEMENT * elements, TYPICAL_JSON_ELEMENT * elements


def reply_too_large(limit: int) -> InferenceError:
    return InferenceError(
        Code.TOO_LARGE, f"the reply is larger than the limit of {limit} bytes; setting MAX_MESSAGE_BYTES raises it"
    )


def check_reply(response: InferResponse, limit: int, form: ReplyForm) -> None:
    """TOO_LARGE when the reply must become larger than `limit` bytes."""
    if reply_size(response, form)[0] > limit:
        raise reply_too_large(limit)
