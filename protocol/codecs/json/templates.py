"""A cache of requests that differ in their elements alone.

A caller's requests for one model have the same names, shapes and keys around other elements. The native reader takes the
arrays out and leaves the skeleton; when the skeleton is in the cache, only the elements are read.

Why the same skeleton with the same number of arrays taken out is the same request: a template is stored only when
everything in it that looks like a placeholder was one. Another text with this skeleton has as many arrays taken out, so
none of its placeholders is data either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.protocol.bounded_cache import BoundedCache
from crossover.protocol.messages import InferRequest, Parameters, RequestedOutput, copied

if TYPE_CHECKING:
    from crossover.protocol.codecs.json.elements import Elements
    from crossover.protocol.codecs.reply_form import ReplyForm
    from crossover.protocol.datatypes import Datatype
    from crossover.protocol.tensors import Buffer, Shape


@dataclass(frozen=True, slots=True)
class JsonRequestTemplate:
    """A request without its elements and without the model, which the path names."""

    tensors: list[tuple[str, Datatype, Shape]]
    outputs: list[RequestedOutput]
    parameters: Parameters
    form: ReplyForm

    def fill(self, elements: Elements, model_name: str, model_version: str) -> tuple[InferRequest, ReplyForm]:
        """The request with these elements; NotNativeError where Python has to read them."""
        tensors = elements.all_of(self.tensors)
        return InferRequest(
            model_name, tensors, model_version, "", copied(self.outputs), dict(self.parameters)
        ), self.form


class JsonRequestTemplates:
    """The templates in the cache, by the text without its elements."""

    def __init__(self) -> None:
        self._cache: BoundedCache[tuple[Buffer, int], JsonRequestTemplate] = BoundedCache()

    def find(self, skeleton: Buffer, elements: Elements) -> JsonRequestTemplate | None:
        return self._cache.get((skeleton, elements.count))

    def learn(self, skeleton: Buffer, elements: Elements, request: InferRequest, form: ReplyForm) -> None:
        """Keep a request whose tensors were all taken out. One with an id comes only once."""
        if request.id or elements.count != len(request.inputs):
            return
        template = JsonRequestTemplate(
            [(tensor.name, tensor.datatype, tensor.shape) for tensor in request.inputs],
            copied(request.outputs),
            dict(request.parameters),
            form,
        )
        self._cache.put((skeleton, elements.count), template, len(skeleton))

    def __len__(self) -> int:
        return len(self._cache)
