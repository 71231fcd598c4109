"""Bounds on what a message may make this process build, the same for every codec and wire.

The size of a body bounds its tensors, which are views on it or as long as its text. What a body can multiply are Python's
objects: each tensor, parameter, JSON value and element of BYTES is one or two of them, from as little as two bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sized
from typing import TYPE_CHECKING

from crossover.protocol.errors import Code, InferenceError, invalid

if TYPE_CHECKING:
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.messages import InferResponse
    from crossover.protocol.tensors import Tensor

MAX_TENSORS = 1024
"""Inputs, or outputs, of a message: ONNX models have a few, ten times the largest seen is a hundred."""
MAX_PARAMETERS = 1024
"""Parameters of a message, a tensor or an output: the protocol reserves about ten names, callers add a few."""
MAX_BYTES_ELEMENTS = 1 << 20
"""Elements of a BYTES tensor: ONNX Runtime takes them as objects, about 100 bytes each beside their text."""
BYTES_ELEMENT_COST = 100
"""Bytes of memory that an element of BYTES takes beside its text once it is an object (two objects, two pointers)."""
HEAVY_BYTES = 128 << 10
"""JSON text of this size takes a millisecond or several, so the event loop leaves it to a thread."""
_LEAST_JSON_ELEMENT = 2
"""An element in JSON is a digit and a comma at least."""
_LEAST_BYTES_ELEMENT = 4
"""An element of BYTES in raw form is its length at least."""


def is_heavy(json_bytes: int) -> bool:
    """Whether so much JSON text, read or written, takes longer than a callback of the event loop should."""
    return json_bytes >= HEAVY_BYTES


def check_count(items: Sized, most: int, what: str) -> None:
    """INVALID_ARGUMENT when there are more than `most`; `what` says of what, as in "inputs of the request"."""
    if len(items) > most:
        raise invalid(f"there are {len(items)} {what}; a message takes {most} at most")


def too_many_elements(name: str, count: int) -> InferenceError:
    """A BYTES tensor that would become too many objects."""
    return InferenceError(
        Code.TOO_LARGE, f"BYTES tensor '{name}' has {count} elements; a message takes {MAX_BYTES_ELEMENTS} at most"
    )


def memory_needed(tensors: Iterable[Tensor]) -> int:
    """Bytes of memory that tensors take beside their body once their elements are made: BYTES become objects, numbers stay."""
    needed = 0
    for tensor in tensors:
        if not tensor.datatype.itemsize:
            needed += tensor.nbytes + BYTES_ELEMENT_COST * math.prod(tensor.shape)
    return needed


def reply_size_at_least(response: InferResponse, form: ReplyForm | None = None) -> int:
    """Bytes that the reply's tensors take at least, told before anything is written; no `form`: all raw, as over gRPC."""
    size = 0
    for tensor in response.outputs:
        if form is not None and not form.binary(tensor.name):
            size += _LEAST_JSON_ELEMENT * tensor.count
        else:
            size += tensor.count * (tensor.datatype.itemsize or _LEAST_BYTES_ELEMENT)
    return size


def reply_too_large(limit: int) -> InferenceError:
    return InferenceError(
        Code.TOO_LARGE, f"the reply is larger than the limit of {limit} bytes; setting MAX_MESSAGE_BYTES raises it"
    )


def check_reply(response: InferResponse, limit: int, form: ReplyForm | None = None) -> None:
    """TOO_LARGE when the reply must become larger than `limit` bytes."""
    if reply_size_at_least(response, form) > limit:
        raise reply_too_large(limit)
