"""JSON heads of binary bodies that come again and again.

A caller's requests for one model differ in their tensors' bytes and in nothing before them, nor do the replies. So a head
is made or parsed once (protobuf/templates.py does the same for gRPC's messages), and behind a head that is known the
bytes are cut as they were cut then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.protocol.bounded_cache import MOST_ENTRY_BYTES
from crossover.protocol.messages import InferRequest, InferResponse, Parameters, RequestedOutput, copied
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.datatypes import Datatype
    from crossover.protocol.tensors import Buffer, Shape

LONGEST = MOST_ENTRY_BYTES
"""Bytes of the longest head that is kept."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The tensors behind a head, in order: all binary, all of a datatype whose size follows from the shape."""

    tensors: list[tuple[str, Datatype, Shape, int]]
    size: int
    """Bytes of all together."""

    def cut(self, tail: memoryview) -> list[Tensor] | None:
        """The tensors as views on the bytes behind the head; None when they are not as many as the head says."""
        if len(tail) != self.size:
            return None
        found, at = [], 0
        for name, row, shape, size in self.tensors:
            found.append(Tensor(name, row, shape, raw=tail[at : at + size]))
            at += size
        return found


def layout_of(tensors: Sequence[Tensor], size: int) -> Layout | None:
    """How `size` bytes behind a head were cut into these tensors; None where the head alone does not tell."""
    cuts = [(t.name, t.datatype, t.shape, t.datatype.itemsize * math.prod(t.shape)) for t in tensors]
    if any(not row.itemsize for _, row, _, _ in cuts) or sum(count for *_, count in cuts) != size:
        return None
    return Layout(cuts, size)


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """All of a request but its tensors' bytes, and but the model, which the path says."""

    layout: Layout
    outputs: list[RequestedOutput]
    parameters: Parameters
    form: ReplyForm

    def around(self, tail: memoryview, model_name: str, model_version: str) -> tuple[InferRequest, ReplyForm] | None:
        tensors = self.layout.cut(tail)
        if tensors is None:
            return None
        return InferRequest(
            model_name, tensors, model_version, "", copied(self.outputs), dict(self.parameters)
        ), self.form


@dataclass(frozen=True, slots=True)
class ResponseTemplate:
    """All of a reply but its tensors' bytes."""

    layout: Layout
    model_name: str
    model_version: str
    parameters: Parameters

    def around(self, tail: memoryview) -> InferResponse | None:
        tensors = self.layout.cut(tail)
        if tensors is None:
            return None
        return InferResponse(self.model_name, self.model_version, tensors, "", dict(self.parameters))


def key_of(tensors: Sequence[Tensor], parameters: Parameters, *rest: object) -> tuple[object, ...] | None:
    """What a head says when all of these tensors are binary; None for one that says more than their shapes tell."""
    described = tuple([(t.name, t.datatype.name, t.shape) for t in tensors if t.datatype.itemsize])
    if len(described) != len(tensors):
        return None
    # by their text, as True is equal to 1 and 0.0 to -0.0
    said = tuple([(name, repr(value)) for name, value in parameters.items()]) if parameters else ()
    return described, said, *rest


def request_template(request: InferRequest, form: ReplyForm, size: int) -> RequestTemplate | None:
    """A request whose head may be kept, with `size` bytes behind it; one with an id comes only once."""
    layout = None if request.id else layout_of(request.inputs, size)
    if layout is None:
        return None
    return RequestTemplate(layout, copied(request.outputs), dict(request.parameters), form)


def response_template(response: InferResponse, size: int) -> ResponseTemplate | None:
    """A reply whose head may be kept, likewise."""
    layout = None if response.id else layout_of(response.outputs, size)
    if layout is None:
        return None
    return ResponseTemplate(layout, response.model_name, response.model_version, dict(response.parameters))


def bytes_of(head: Buffer) -> bytes | None:
    """A head's bytes as a key; None when it is too long to be kept."""
    return bytes(head) if len(head) <= LONGEST else None
