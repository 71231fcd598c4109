"""Bounds on the objects that a message may make this process build, the same for every codec and wire.

The size of a body bounds its tensors, which are views on it or as long as its text. It does not bound Python's objects:
each tensor, parameter, JSON value and element of BYTES is one or two of them, from as little as two bytes.
"""

from __future__ import annotations

from collections.abc import Sized

from crossover.protocol.errors import Code, InferenceError, invalid

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
