"""Requests joined along their first dimension, and the answer cut apart again. Pure.

Two rules keep it right. A model is joined only when its configuration says so (`dynamic_batching` and `max_batch_size`),
never because of its shape, since rows may interact. And only requests alike in everything but their rows are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from crossover.protocol.errors import Code, InferenceError
from crossover.protocol.tensors import Tensor

if TYPE_CHECKING:
    from crossover.protos import inference as pb

DEFAULT_ROWS = 64
"""Rows that are gathered when `preferred_batch_size` says nothing."""

Form: TypeAlias = tuple[object, ...]


def rows_allowed(config: pb.ModelConfig) -> int:
    """How many rows may be gathered for a model: 0 unless `dynamic_batching` and `max_batch_size` are both set."""
    if not config.HasField("dynamic_batching") or config.max_batch_size <= 1:
        return 0
    preferred = config.dynamic_batching.preferred_batch_size
    return min(max(preferred) if preferred else DEFAULT_ROWS, config.max_batch_size)


def rows_of(inputs: Sequence[Tensor]) -> int:
    """Rows that every input has; 0 when they do not have the same number, or none."""
    first = inputs[0].shape if inputs else ()
    rows = first[0] if first else 0
    return rows if all(tensor.shape[:1] == (rows,) for tensor in inputs) else 0


def form_of(inputs: Sequence[Tensor]) -> Form:
    """Equal for inputs that differ in nothing but their rows."""
    return tuple([(tensor.name, tensor.datatype.name, tensor.shape[1:]) for tensor in inputs])


def joined(requests: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The inputs of all requests as one request's; each request has the same `form_of` its inputs."""
    return [_concatenated(tensors) for tensors in zip(*requests, strict=True)]


def _concatenated(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0]
    shape = (sum(tensor.shape[0] for tensor in tensors), *first.shape[1:])
    if first.datatype.kind == "bytes":
        return Tensor(first.name, first.datatype, shape, array=np.concatenate([tensor.array for tensor in tensors]))
    return Tensor(first.name, first.datatype, shape, raw=b"".join([tensor.raw for tensor in tensors]))


def apart(outputs: Sequence[Tensor], rows: Sequence[int]) -> list[list[Tensor]]:
    """Each request's rows of every output; FAILED_PRECONDITION when an output does not have a row for each input row."""
    total = sum(rows)
    if any(tensor.shape[:1] != (total,) for tensor in outputs):
        raise InferenceError(
            Code.FAILED_PRECONDITION, "an output of the model does not have one row for each input row"
        )
    answers: list[list[Tensor]] = []
    at = 0
    for count in rows:
        answers.append([_slice(tensor, at, at + count) for tensor in outputs])
        at += count
    return answers


def _slice(tensor: Tensor, start: int, end: int) -> Tensor:
    part: Any = tensor.array[start:end]
    return Tensor(tensor.name, tensor.datatype, part.shape, array=part)
