"""Requests whose text differs from an earlier one in its numbers alone.

A caller's requests for one model have the same names, shapes and keys around other numbers. The native reader takes the
numbers out; when the rest is known, the request is known, and only the numbers are read.

Why the same skeleton with the same number of arrays taken out is the same request: a skeleton is learnt only when each
thing in it that looks like a placeholder was one, so another text with it has as many placeholders as look like one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossover.protocol.codecs.reply_form import ReplyForm
from crossover.protocol.messages import InferRequest, Parameters, RequestedOutput
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from crossover.protocol.codecs.json.numbers import Numbers
    from crossover.protocol.datatypes import Datatype
    from crossover.protocol.tensors import Buffer, Shape

MOST, LONGEST = 256, 4096
"""Skeletons that are kept (when there are more, all are forgotten), and the longest of them, in bytes."""


@dataclass(frozen=True, slots=True)
class Known:
    """All of a request but its numbers, and but the model, which the path says."""

    tensors: list[tuple[str, Datatype, Shape]]
    outputs: list[RequestedOutput]
    parameters: Parameters
    form: ReplyForm

    def request(self, numbers: Numbers, model_name: str, model_version: str) -> tuple[InferRequest, ReplyForm]:
        """The request with these numbers; NotNativeError when they have to be read with care."""
        arrays = numbers.all_of(self.tensors)
        tensors = [
            Tensor(name, row, shape, array=array)
            for (name, row, shape), array in zip(self.tensors, arrays, strict=True)
        ]
        outputs = [RequestedOutput(output.name, dict(output.parameters)) for output in self.outputs]
        form = ReplyForm(self.form.default, dict(self.form.named))
        return InferRequest(model_name, tensors, model_version, "", outputs, dict(self.parameters)), form


class Skeletons:
    """What is known, by the text without its numbers."""

    def __init__(self) -> None:
        self._known: dict[tuple[Buffer, int], Known] = {}

    def find(self, skeleton: Buffer, numbers: Numbers) -> Known | None:
        return self._known.get((skeleton, numbers.count))

    def learn(self, skeleton: Buffer, numbers: Numbers, request: InferRequest, form: ReplyForm) -> None:
        """Keep a request whose tensors were all taken out. One with an id comes only once."""
        if request.id or len(skeleton) > LONGEST or numbers.count != len(request.inputs):
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[skeleton, numbers.count] = Known(
            [(tensor.name, tensor.datatype, tensor.shape) for tensor in request.inputs],
            [RequestedOutput(output.name, dict(output.parameters)) for output in request.outputs],
            dict(request.parameters),
            ReplyForm(form.default, dict(form.named)),
        )
