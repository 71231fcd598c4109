"""Typed contents (OIP: InferTensorContents): one repeated field for each family of datatypes, packed.

Packed fixed-size numbers are the tensor's own little-endian bytes, so FP32, FP64 and BOOL are written by hand; integers
are varints and are left to the library. FP16 and BF16 have no field.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.protocol.codecs.protobuf.wire import delimited, key
from crossover.protocol.datatypes import DATATYPES, Datatype, datatype
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.tensors import Buffer, Shape, Tensor, checked_shape
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIELDS = sorted({row.contents for row in DATATYPES.values() if row.contents})
_PACKED_AS_THEY_ARE = frozenset({"FP32", "FP64", "BOOL"})
_TAGS = {name: key(pb.InferTensorContents.DESCRIPTOR.fields_by_name[name].number) for name in _FIELDS}


def encode(tensor: Tensor) -> list[Buffer]:
    """InferTensorContents bytes in parts; NOT_CARRIED for a datatype without a field."""
    row = tensor.datatype
    if row.contents is None:
        raise InferenceError(
            Code.NOT_CARRIED,
            f"'{tensor.name}' is {row.name}, which typed contents do not carry; use raw contents ('grpc')",
        )
    if row.name in _PACKED_AS_THEY_ARE:
        raw = _ones_and_zeros(tensor) if row.kind == "bool" else tensor.raw
        return delimited(_TAGS[row.contents], [raw]) if len(raw) else []
    contents = pb.InferTensorContents()
    field = getattr(contents, row.contents)
    if row.kind == "bytes":
        field.extend(tensor.array.ravel().tolist())
    else:
        # a memoryview hands out numbers several times quicker than a numpy array does, but only aligned ones; views on
        # a wire's bytes start anywhere
        field.extend(np.require(tensor.array, requirements=("C", "A")).reshape(-1).data)
    return [contents.SerializeToString()]


def decode(entry: Any, what: str) -> Tensor:
    """The tensor of an InferInputTensor or InferOutputTensor with typed contents; INVALID_ARGUMENT when they disagree."""
    row = datatype(entry.datatype)
    shape = checked_shape(entry.name, entry.shape)
    if row.contents is None:
        raise invalid(f"{what} '{entry.name}' is {row.name}; it is carried by raw_{what}_contents only")
    filled = [name for name in _FIELDS if len(getattr(entry.contents, name))]
    if any(name != row.contents for name in filled):
        raise invalid(
            f"{what} '{entry.name}' of {row.name} takes its elements in {row.contents}, but has {', '.join(filled)}"
        )
    field, count = getattr(entry.contents, row.contents), math.prod(shape)
    if len(field) != count:
        raise invalid(
            f"{what} '{entry.name}' has {len(field)} elements in {row.contents}, but shape {list(shape)} takes {count}"
        )
    return Tensor(entry.name, row, shape, array=_array(entry.name, row, field, shape))


def _ones_and_zeros(tensor: Tensor) -> Buffer:
    """BOOL as varints: any byte that is not 0 is true, and is written as 1."""
    return np.not_equal(np.frombuffer(tensor.raw, np.uint8), 0).tobytes()


def _array(name: str, row: Datatype, field: Any, shape: Shape) -> NDArray[Any]:
    if row.kind == "bytes":
        made = np.empty(len(field), dtype=object)
        made[:] = list(field)
        return made.reshape(shape)
    if row.kind != "int" or row.itemsize >= 4:
        return np.asarray(field, dtype=row.dtype).reshape(shape)
    wide = np.asarray(field, dtype=np.int64)
    if wide.size and (wide.min() < row.low or wide.max() > row.high):
        outside = wide[(wide < row.low) | (wide > row.high)][0]
        raise invalid(f"'{name}' holds {outside}, outside the {row.low} to {row.high} of {row.name}")
    return wide.astype(row.dtype).reshape(shape)
