"""Requests whose text differs from an earlier one in its elements alone.

A caller's requests for one model have the same names, shapes and keys around other elements. The native reader takes the
arrays out; when the rest is known, the request is known, and only the elements are read.

Why the same skeleton with the same number of arrays taken out is the same request: a template is learnt only when each
thing in it that looks like a placeholder was one, so another text with it has as many placeholders as look like one.
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
class RequestTemplate:
    """All of a request but its elements, and but the model, which the path says."""

    tensors: list[tuple[str, Datatype, Shape]]
    outputs: list[RequestedOutput]
    parameters: Parameters
    form: ReplyForm

    def request(self, elements: Elements, model_name: str, model_version: str) -> tuple[InferRequest, ReplyForm]:
        """The request with these elements; NotNativeError when they have to be read with care."""
        tensors = elements.all_of(self.tensors)
        return InferRequest(
            model_name, tensors, model_version, "", copied(self.outputs), dict(self.parameters)
        ), self.form


class RequestTemplates:
    """The templates that are known, by the text without its elements."""

    def __init__(self) -> None:
        self._cache: BoundedCache[tuple[Buffer, int], RequestTemplate] = BoundedCache()

    def find(self, skeleton: Buffer, elements: Elements) -> RequestTemplate | None:
        return self._cache.get((skeleton, elements.count))

    def learn(self, skeleton: Buffer, elements: Elements, request: InferRequest, form: ReplyForm) -> None:
        """Keep a request whose tensors were all taken out. One with an id comes only once."""
        if request.id or elements.count != len(request.inputs):
            return
        template = RequestTemplate(
            [(tensor.name, tensor.datatype, tensor.shape) for tensor in request.inputs],
            copied(request.outputs),
            dict(request.parameters),
            form,
        )
        self._cache.put((skeleton, elements.count), template, len(skeleton))

    def __len__(self) -> int:
        return len(self._cache)
