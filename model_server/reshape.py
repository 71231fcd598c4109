"""`reshape` of config.pbtxt: callers see one shape and the model another, with the same elements (Triton's ModelConfig).

A -1 in the model's shape stands for the caller's -1 in the same place among the -1s. The batch dimension, where there
is one, is kept and stands in neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from crossover.protocol.errors import InferenceError, invalid
from crossover.protocol.tensors import Shape, Tensor


@dataclass(frozen=True, slots=True)
class Reshape:
    """From one shape to another; each holds -1 for dimensions that vary."""

    source: Shape
    target: Shape
    batched: bool

    def apply(self, tensor: Tensor) -> Tensor:
        """The same elements in the other shape; INVALID_ARGUMENT when the tensor's shape is not the source's."""
        batch, dims = (tensor.shape[:1], tensor.shape[1:]) if self.batched else ((), tensor.shape)
        if not _fits(dims, self.source):
            raise _odd(tensor, self.source)
        varying = iter([dim for dim, declared in zip(dims, self.source, strict=True) if declared == -1])
        shape = (*batch, *(next(varying) if dim == -1 else dim for dim in self.target))
        if tensor.datatype.kind == "bytes":
            return Tensor(tensor.name, tensor.datatype, shape, array=tensor.array.reshape(shape))
        return Tensor(tensor.name, tensor.datatype, shape, raw=tensor.raw)


def apply_all(tensors: Iterable[Tensor], by_name: Mapping[str, Reshape]) -> list[Tensor]:
    return [by_name[tensor.name].apply(tensor) if tensor.name in by_name else tensor for tensor in tensors]


def possible(source: Shape, target: Shape) -> bool:
    """Whether the one shape can always be read as the other."""
    return source.count(-1) == target.count(-1) and _fixed_size(source) == _fixed_size(target)


def _fixed_size(shape: Shape) -> int:
    size = 1
    for dim in shape:
        size *= 1 if dim == -1 else dim
    return size


def _fits(dims: Shape, declared: Shape) -> bool:
    return len(dims) == len(declared) and all(want in (-1, dim) for dim, want in zip(dims, declared, strict=True))


def _odd(tensor: Tensor, declared: Shape) -> InferenceError:
    return invalid(
        f"'{tensor.name}' has shape {list(tensor.shape)}, but its reshape in config.pbtxt takes {list(declared)}"
    )
