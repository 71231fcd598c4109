"""`Tensor`: a name, a datatype, a shape, and the elements as a numpy array or as raw bytes, each made from the other.

A gateway that only passes a tensor on never makes the array; an engine never makes the bytes of an input that came as
an array. Raw bytes stay views on the message that they came in.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Sequence
from typing import TypeAlias

import numpy as np

from crossover.protocol.datatypes import DATATYPES, Datatype, of_array
from crossover.protocol.errors import invalid
from crossover.protocol.limits import MAX_BYTES_ELEMENTS, too_many_elements
from crossover.protocol.names import shown
from crossover.protocol.native import bytestensors

Buffer: TypeAlias = bytes | bytearray | memoryview
Shape: TypeAlias = tuple[int, ...]
MAX_ELEMENTS = 2**40
"""No message holds more; a bound that keeps the products of hostile shapes small."""
PREFIX_BYTES = 4
"""Length of a BYTES element in the raw form, before its bytes."""
COPIED_BYTES = 4096
"""An array of no more bytes is copied sooner than a view of it is made."""
MAX_RANK = 64
"""Dimensions of a shape, numpy's limit; it also bounds the nesting of JSON `data`."""


class Tensor:
    """A named tensor. Treat it as immutable; `array` and `raw` are views, not copies, where that is possible."""

    __slots__ = ("_array", "_raw", "datatype", "name", "shape")

    def __init__(
        self, name: str, kind: Datatype, shape: Shape, array: np.ndarray | None = None, raw: Buffer | None = None
    ) -> None:
        self.name = name
        self.datatype = kind
        self.shape = shape
        self._array = array
        self._raw = raw

    @classmethod
    def from_array(cls, name: str, array: np.ndarray, kind: Datatype | None = None) -> Tensor:
        """A tensor of `array`'s shape; text elements are BYTES in UTF-8."""
        row = kind or of_array(array)
        if row.kind == "bytes":
            array = _bytes_array(array)
        elif array.dtype != row.dtype:
            array = array.astype(row.dtype)
        return cls(name, row, array.shape, array=array)

    @classmethod
    def from_raw(cls, name: str, datatype_name: str, shape: Sequence[int], raw: Buffer) -> Tensor:
        """A tensor over `raw` as it came from a wire; INVALID_ARGUMENT when shape, datatype and size disagree.

        BYTES are checked when they are first read, since that means walking through them.
        """
        row, dims = declared(name, datatype_name, shape)
        size, count = len(raw), math.prod(dims)
        if row.itemsize and size != count * row.itemsize:
            expected = count * row.itemsize
            raise invalid(
                f"input '{name}' has {size} bytes, but shape {list(dims)} of {row.name} takes {expected} bytes"
            )
        if not row.itemsize and size < count * PREFIX_BYTES:
            raise invalid(
                f"BYTES input '{name}' has {size} bytes, too few for the {count} lengths that shape {list(dims)} takes"
            )
        return cls(name, row, dims, raw=raw)

    @property
    def array(self) -> np.ndarray:
        """The elements as an array of `shape` (BYTES: an object array of bytes); read-only over wire bytes."""
        if self._array is None:
            assert self._raw is not None
            if self.datatype.kind == "bytes":
                self._array = decode_bytes(self.name, self._raw, self.shape)
            elif self.datatype.kind == "bool":
                self._array = _booleans(self._raw).reshape(self.shape)
            else:
                self._array = np.frombuffer(self._raw, self.datatype.dtype).reshape(self.shape)
        return self._array

    @property
    def raw(self) -> Buffer:
        """The elements as OIP raw bytes (little-endian, row-major; BYTES length-prefixed)."""
        if self._raw is None:
            assert self._array is not None
            if self.datatype.kind == "bytes":
                self._raw = encode_bytes(self._array.ravel().tolist())
            elif self._array.nbytes <= COPIED_BYTES and self._array.dtype == self.datatype.dtype:
                self._raw = self._array.tobytes()
            else:
                array = np.ascontiguousarray(self._array, dtype=self.datatype.dtype)
                self._raw = array.reshape(-1).view(np.uint8).data if array.size else b""
        return self._raw

    @property
    def nbytes(self) -> int:
        """Size of the raw form in bytes."""
        if self._raw is None and self.datatype.itemsize:
            assert self._array is not None
            return self._array.nbytes
        return len(self.raw)

    def renamed(self, name: str) -> Tensor:
        """The same elements under another name."""
        return Tensor(name, self.datatype, self.shape, self._array, self._raw)

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.datatype.name}, {list(self.shape)})"


def _booleans(raw: Buffer) -> np.ndarray:
    """Each byte as a boolean. A byte that is neither 0 nor 1 is true, as in C, and becomes 1: NumPy, ONNX Runtime and orjson
    each read such a byte differently.
    """
    octets = np.frombuffer(raw, np.uint8)
    return octets != 0 if octets.size and octets.max() > 1 else octets.view(np.bool_)


def declared(name: str, datatype_name: str, shape: Collection[int]) -> tuple[Datatype, Shape]:
    """A tensor's datatype and shape, checked against the bounds before any element is made; INVALID_ARGUMENT or TOO_LARGE."""
    row = DATATYPES.get(datatype_name)
    if row is None:
        raise invalid(
            f"tensor '{name[:80]}' has datatype '{datatype_name[:40]}'; it takes one of {', '.join(DATATYPES)}"
        )
    dims = checked_shape(name, shape)
    if row.kind == "bytes" and (count := math.prod(dims)) > MAX_BYTES_ELEMENTS:
        raise too_many_elements(name, count)
    return row, dims


def checked_shape(name: str, shape: Collection[int]) -> Shape:
    """`shape` as a tuple; INVALID_ARGUMENT for a negative or non-integer dimension, too many or an overflowing product."""
    if len(shape) > MAX_RANK:
        raise invalid(f"shape of '{name}' has {len(shape)} dimensions; at most {MAX_RANK} are supported")
    dims = tuple(shape)
    for dim in dims:
        if type(dim) is not int:
            raise invalid(f"shape of '{name}' holds {shown(dim)}; each dimension is an integer, 0 or more")
        if dim < 0:
            raise invalid(f"shape {list(dims)} of '{name}' has a negative dimension; say the actual size")
        if dim > MAX_ELEMENTS:
            raise invalid(f"shape {list(dims)} of '{name}' is larger than any message can be")
    if math.prod(dims) > MAX_ELEMENTS:
        raise invalid(f"shape {list(dims)} of '{name}' is larger than any message can be")
    return dims


def encode_bytes(elements: Sequence[bytes]) -> bytes:
    """OIP's raw form of BYTES: each element after its length as a little-endian uint32."""
    if bytestensors is not None and type(elements) is list and (raw := bytestensors.joined(elements)) is not None:
        return raw
    parts: list[bytes] = []
    for element in elements:
        parts.append(struct.pack("<I", len(element)))
        parts.append(element)
    return b"".join(parts)


def decode_bytes(name: str, raw: Buffer, shape: Shape) -> np.ndarray:
    """An object array of bytes from the raw form; INVALID_ARGUMENT unless lengths, count and size agree exactly."""
    count = math.prod(shape)
    elements = bytestensors.elements(raw, count) if bytestensors is not None else None
    return object_array(_elements(name, raw, shape) if elements is None else elements, shape)


def object_array(elements: list[bytes], shape: Shape) -> np.ndarray:
    """An object array of `shape`."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)


def _elements(name: str, raw: Buffer, shape: Shape) -> list[bytes]:
    """The elements in the raw form; INVALID_ARGUMENT that says what is wrong in it."""
    view, end, count = memoryview(raw), len(raw), math.prod(shape)
    elements: list[bytes] = []
    at = 0
    while at < end and len(elements) <= count:
        start = at + PREFIX_BYTES
        if start > end:
            raise invalid(f"BYTES input '{name}' ends inside the 4-byte length of element {len(elements)}")
        at = start + int.from_bytes(view[at:start], "little")
        if at > end:
            raise invalid(
                f"BYTES input '{name}': element {len(elements)} says {at - start} bytes, {end - start} are left"
            )
        elements.append(bytes(view[start:at]))
    if len(elements) != count:
        held = f"{len(elements)}" if len(elements) < count else f"more than {count}"
        raise invalid(f"BYTES input '{name}' holds {held} elements, but shape {list(shape)} takes {count}")
    return elements


def _bytes_array(array: np.ndarray) -> np.ndarray:
    return object_array([_as_bytes(element) for element in array.ravel().tolist()], array.shape)


def _as_bytes(element: object) -> bytes:
    if isinstance(element, bytes):
        return element
    if isinstance(element, str):
        return element.encode("utf-8", "strict")
    raise invalid(f"a BYTES element is {type(element).__name__}; it takes text or bytes")
