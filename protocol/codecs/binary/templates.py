"""JSON heads of binary bodies that come again and again.

A caller's requests for one model differ in their tensors' bytes alone, and so do the replies. So each head is encoded or
parsed once (protobuf/templates.py does the same for gRPC's messages); the bytes behind a head in the cache are cut in the
same places again.
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
    """The tensors behind a head, in order: all are binary and have a datatype whose size follows from the shape."""

    tensors: list[tuple[str, Datatype, Shape, int]]
    size: int
    """Bytes of all together."""

    def cut(self, tail: memoryview) -> list[Tensor] | None:
        """The tensors as views on the bytes behind the head; None when there are more or fewer bytes than the head says."""
        if len(tail) != self.size:
            return None
        tensors, at = [], 0
        for name, row, shape, size in self.tensors:
            tensors.append(Tensor(name, row, shape, raw=tail[at : at + size]))
            at += size
        return tensors


def layout_of(tensors: Sequence[Tensor], size: int) -> Layout | None:
    """How `size` bytes behind a head were cut into these tensors; None where the head alone does not determine it."""
    cuts = [(t.name, t.datatype, t.shape, t.datatype.itemsize * math.prod(t.shape)) for t in tensors]
    if any(not row.itemsize for _, row, _, _ in cuts) or sum(count for *_, count in cuts) != size:
        return None
    return Layout(cuts, size)


@dataclass(frozen=True, slots=True)
class BinaryRequestTemplate:
    """A request without its tensors' bytes and without the model, which the path names."""

    layout: Layout
    outputs: list[RequestedOutput]
    parameters: Parameters
    form: ReplyForm

    def fill(self, tail: memoryview, model_name: str, model_version: str) -> tuple[InferRequest, ReplyForm] | None:
        tensors = self.layout.cut(tail)
        if tensors is None:
            return None
        return InferRequest(
            model_name, tensors, model_version, "", copied(self.outputs), dict(self.parameters)
        ), self.form


@dataclass(frozen=True, slots=True)
class BinaryResponseTemplate:
    """A reply without its tensors' bytes."""

    layout: Layout
    model_name: str
    model_version: str
    parameters: Parameters

    def fill(self, tail: memoryview) -> InferResponse | None:
        tensors = self.layout.cut(tail)
        if tensors is None:
            return None
        return InferResponse(self.model_name, self.model_version, tensors, "", dict(self.parameters))


def key_of(tensors: Sequence[Tensor], parameters: Parameters, *rest: object) -> tuple[object, ...] | None:
    """A key for the head of these tensors, all binary; None when their sizes do not follow from their shapes."""
    described = tuple([(t.name, t.datatype.name, t.shape) for t in tensors if t.datatype.itemsize])
    if len(described) != len(tensors):
        return None
    # by their text, because True equals 1 and 0.0 equals -0.0
    values = tuple([(name, repr(value)) for name, value in parameters.items()]) if parameters else ()
    return described, values, *rest


def request_template(request: InferRequest, form: ReplyForm, size: int) -> BinaryRequestTemplate | None:
    """The template of a request with `size` bytes behind its head; None for one with an id, which comes only once."""
    layout = None if request.id else layout_of(request.inputs, size)
    if layout is None:
        return None
    return BinaryRequestTemplate(layout, copied(request.outputs), dict(request.parameters), form)


def response_template(response: InferResponse, size: int) -> BinaryResponseTemplate | None:
    """The template of a reply, likewise."""
    layout = None if response.id else layout_of(response.outputs, size)
    if layout is None:
        return None
    return BinaryResponseTemplate(layout, response.model_name, response.model_version, dict(response.parameters))


def bytes_of(head: Buffer) -> bytes | None:
    """A head's bytes as a key; None when it is too long to be kept."""
    return bytes(head) if len(head) <= LONGEST else None
