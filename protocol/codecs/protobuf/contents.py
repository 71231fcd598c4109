"""Typed contents (OIP: InferTensorContents): one repeated field for each family of datatypes, packed.

Packed fixed-size numbers are the tensor's own little-endian bytes, so FP32, FP64 and BOOL are written by hand. Integers are
varints: few are left to the library, many go through varints.py. FP16 and BF16 have no field.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError

from crossover.protocol.codecs.protobuf import varints
from crossover.protocol.codecs.protobuf.wire import delimited, key, read_varint
from crossover.protocol.datatypes import DATATYPES, Datatype
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.limits import MAX_BYTES_ELEMENTS
from crossover.protocol.native import bytestensors
from crossover.protocol.tensors import Buffer, Shape, Tensor, declared, object_array
from crossover.protos import inference as pb

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIELDS = sorted({row.contents for row in DATATYPES.values() if row.contents})
_PACKED_AS_THEY_ARE = frozenset({"FP32", "FP64", "BOOL"})
_MANY = 4096
"""Integers from which on their varints are made by array operations instead of one by one."""
_WIDE: dict[str, np.dtype[Any]] = {
    "int_contents": np.dtype("i4"),
    "int64_contents": np.dtype("i8"),
    "uint_contents": np.dtype("u4"),
    "uint64_contents": np.dtype("u8"),
}
"""What a field's numbers are, whatever datatype they are for."""
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
    if row.kind == "int" and tensor.count >= _MANY:
        return delimited(_TAGS[row.contents], varints.encode(tensor.array.reshape(-1)))
    contents = pb.InferTensorContents()
    field = getattr(contents, row.contents)
    if row.kind == "bytes":
        field.extend(tensor.array.ravel().tolist())
    else:
        # a memoryview hands out numbers several times quicker than a numpy array does, but only aligned ones; views on
        # a wire's bytes start anywhere
        field.extend(np.require(tensor.array, requirements=("C", "A")).reshape(-1).data)
    return [contents.SerializeToString()]


def decode(entry: Any, what: str, contents: Buffer | None = None) -> Tensor:
    """The tensor of an InferInputTensor or InferOutputTensor with typed contents; INVALID_ARGUMENT when they disagree.

    `contents` are those of a large tensor, which were taken out of `entry` before it was parsed.
    """
    row, shape = declared(entry.name, entry.datatype, entry.shape)
    if row.contents is None:
        raise invalid(f"{what} '{entry.name}' is {row.name}; it is carried by raw_{what}_contents only")
    if contents is not None:
        tensor = _from_bytes(entry.name, row, shape, contents, what)
        if tensor is not None:
            return tensor
    typed = entry.contents if contents is None else _parsed(contents)
    filled = [name for name in _FIELDS if len(getattr(typed, name))]
    if any(name != row.contents for name in filled):
        raise invalid(
            f"{what} '{entry.name}' of {row.name} takes its elements in {row.contents}, but has {', '.join(filled)}"
        )
    field = getattr(typed, row.contents)
    _check_count(entry.name, row, shape, len(field), what)
    return Tensor(entry.name, row, shape, array=_array(entry.name, row, field, shape))


def _check_count(name: str, row: Datatype, shape: Shape, count: int, what: str) -> None:
    if count != math.prod(shape):
        raise invalid(
            f"{what} '{name}' has {count} elements in {row.contents}, but shape {list(shape)} takes {math.prod(shape)}"
        )


def _parsed(contents: Buffer) -> Any:
    try:
        return pb.InferTensorContents.FromString(bytes(contents))
    except DecodeError:
        raise invalid("the message can't be decoded as protobuf of inference.ModelInferRequest") from None


def _from_bytes(name: str, row: Datatype, shape: Shape, contents: Buffer, what: str) -> Tensor | None:
    """The tensor of contents that are one field as a writer writes it, its elements counted before they are made.

    None for any other contents, which the library reads.
    """
    assert row.contents is not None
    if row.kind == "bytes":
        counted = (
            bytestensors.from_repeated(contents, _TAGS[row.contents][0], MAX_BYTES_ELEMENTS) if bytestensors else None
        )
        if counted is None:
            return None
        count, raw = counted
        _check_count(name, row, shape, count, what)
        return Tensor(name, row, shape, raw=raw)
    packed = _packed(memoryview(contents), _TAGS[row.contents])
    if packed is None:
        return None
    if row.name in _PACKED_AS_THEY_ARE and (row.kind != "bool" or not packed.size or packed.max() <= 1):
        if packed.size % row.itemsize:
            return None
        _check_count(name, row, shape, packed.size // row.itemsize, what)
        return Tensor(name, row, shape, raw=packed.data)
    _check_count(name, row, shape, varints.count(packed), what)
    numbers = varints.decode(packed, _WIDE[row.contents]) if row.kind == "int" else None
    return None if numbers is None else Tensor(name, row, shape, array=_narrowed(name, row, numbers, shape))


def _packed(contents: memoryview, tag: bytes) -> NDArray[np.uint8] | None:
    """The bytes of the one packed field that is all there is."""
    if contents[:1] != tag:
        return None
    try:
        size, at = read_varint(contents, 1)
    except (IndexError, ValueError):
        return None
    return np.frombuffer(contents[at:], np.uint8) if at + size == len(contents) else None


def _ones_and_zeros(tensor: Tensor) -> Buffer:
    """BOOL as varints: any byte that is not 0 is true, and is written as 1."""
    return np.not_equal(np.frombuffer(tensor.raw, np.uint8), 0).tobytes()


def _array(name: str, row: Datatype, field: Any, shape: Shape) -> NDArray[Any]:
    if row.kind == "bytes":
        return object_array(list(field), shape)
    if row.kind != "int" or row.itemsize >= 4:
        return np.asarray(field, dtype=row.dtype).reshape(shape)
    return _narrowed(name, row, np.asarray(field, dtype=np.int64), shape)


def _narrowed(name: str, row: Datatype, wide: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Numbers of a field in the datatype that they are for, which may hold fewer."""
    if row.itemsize >= 4:
        return wide.astype(row.dtype, copy=False).reshape(shape)
    if wide.size and (wide.min() < row.low or wide.max() > row.high):
        outside = wide[(wide < row.low) | (wide > row.high)][0]
        raise invalid(f"'{name}' holds {outside}, outside the {row.low} to {row.high} of {row.name}")
    return wide.astype(row.dtype).reshape(shape)
