"""Tensor elements as JSON arrays: strict on the way in, exact on the way out.

In: flat, or nested exactly as the shape says. Integers take integers in range (not ``1.0``, not ``true``), BOOL takes
booleans (not ``1``), floats take any number, the literals NaN and Infinity, and ``null`` for NaN. Out: flat; NaN is
``null``, the infinities are the literals that Triton writes. FP16 and BF16 have no JSON form; BYTES travel as text.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from crossover.protocol.codecs.json.text import kind_of
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protocol.tensors import object_array

if TYPE_CHECKING:
    from crossover.protocol.datatypes import Datatype
    from crossover.protocol.tensors import Buffer, Shape, Tensor

LONG_ELEMENTS, PIECE_ELEMENTS = 256 << 10, 4 << 10
"""Tensors of so many elements are written so many at a time: orjson keeps the interpreter lock while it writes, and a
thread that writes 8 ms or longer lets others run between the pieces."""

_ACCEPTED: dict[str, frozenset[type]] = {
    "bool": frozenset({bool}),
    "int": frozenset({int}),
    "float": frozenset({float, int, type(None)}),
    "bytes": frozenset({str}),
}
_WANTED = {"bool": "true or false", "int": "integers", "float": "numbers", "bytes": "strings"}


def not_carried(name: str, row: Datatype) -> InferenceError:
    """NOT_CARRIED: the datatype has no JSON form."""
    return InferenceError(
        Code.NOT_CARRIED,
        f"tensor '{name}' is {row.name}, which JSON does not carry; use the binary tensor data extension",
    )


def to_array(name: str, row: Datatype, shape: Shape, data: object) -> np.ndarray:
    """The array of `shape` that a JSON `data` means; INVALID_ARGUMENT that names tensor and element otherwise."""
    if not row.json:
        raise not_carried(name, row)
    flat = flat_elements(name, shape, data)
    if not _ACCEPTED[row.kind].issuperset(map(type, flat)):
        raise wrong_type(name, row, *_first_of_wrong_type(row, flat))
    if row.kind == "bytes":
        return object_array([element.encode() for element in flat], shape)
    try:
        array = np.array(flat, dtype=row.dtype) if row.name != "FP32" else _float32(flat)
    except OverflowError:
        array = None
    if array is None:
        raise out_of_range(name, row, *_first_out_of_range(row, flat))
    return array.reshape(shape)


def to_text(tensor: Tensor) -> bytes:
    """The flat JSON array of the elements; NOT_CARRIED for FP16, BF16 and BYTES that are not UTF-8."""
    row = tensor.datatype
    if not row.json:
        raise not_carried(tensor.name, row)
    flat = tensor.array.reshape(-1)
    if row.kind == "bytes":
        return orjson.dumps(_strings(tensor.name, flat.tolist()))
    if flat.size < LONG_ELEMENTS:
        return _flat_text(flat, row)
    text = bytearray(b"[")
    for at in range(0, flat.size, PIECE_ELEMENTS):
        text += memoryview(_flat_text(flat[at : at + PIECE_ELEMENTS], row))[1:-1]
        text += b","
    text[-1:] = b"]"
    return bytes(text)


def _flat_text(flat: np.ndarray, row: Datatype) -> bytes:
    text = numbers_text(flat)
    return _with_infinities(text, flat) if row.kind == "float" and b"n" in text else text


def numbers_text(array: np.ndarray) -> bytes:
    """The JSON of a numeric array as it is nested; orjson writes ``null`` for NaN and the infinities."""
    if array.size < LONG_ELEMENTS:
        return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
    step = max(1, PIECE_ELEMENTS * len(array) // array.size)
    return b"[" + b",".join(_inside(array[at : at + step]) for at in range(0, len(array), step)) + b"]"


def _inside(part: np.ndarray) -> Buffer:
    """The text of a part of a long array, without its own brackets."""
    return numbers_text(part[0]) if len(part) == 1 and part.ndim > 1 else memoryview(numbers_text(part))[1:-1]


def flat_elements(name: str, shape: Shape, data: object) -> list[Any]:
    """The elements of `data`, which is flat or nested exactly as `shape` says; INVALID_ARGUMENT otherwise."""
    if type(data) is not list:
        if shape == () and type(data) is not dict:
            return [data]
        raise invalid(f"'data' of tensor '{name}' is {kind_of(data)}; it takes an array")
    count = math.prod(shape)
    if not data or type(data[0]) is not list:
        if len(data) != count:
            raise wrong_count(name, shape, len(data))
        return data
    return _unnested(name, shape, data)


def _unnested(name: str, shape: Shape, data: list[Any]) -> list[Any]:
    """The elements of lists nested exactly as `shape` says."""
    level = data
    if not shape or len(level) != shape[0]:
        raise ragged(name, shape)
    for dim in shape[1:]:
        if set(map(type, level)) != {list} or set(map(len, level)) != {dim}:
            raise ragged(name, shape)
        level = list(chain.from_iterable(level))
        if not level:
            break
    if level and type(level[0]) is list:
        raise ragged(name, shape)
    return level


def _float32(flat: list[Any]) -> np.ndarray | None:
    """float32 of Python numbers; None when a finite one becomes infinite."""
    with np.errstate(over="ignore"):
        array = np.array(flat, dtype=np.float32)
    if np.isinf(array).any():
        wide = np.array(flat, dtype=np.float64)
        if not np.isinf(wide[np.isinf(array)]).all():
            return None
    return array


def _strings(name: str, elements: list[bytes]) -> list[str]:
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        raise InferenceError(
            Code.NOT_CARRIED,
            f"tensor '{name}' holds BYTES that are not UTF-8, which JSON does not carry; request binary_data",
        ) from None


def _with_infinities(text: bytes, flat: np.ndarray) -> bytes:
    tokens = text[1:-1].split(b",")
    for index in np.flatnonzero(np.isinf(flat)).tolist():
        tokens[index] = b"Infinity" if flat[index] > 0 else b"-Infinity"
    return b"[" + b",".join(tokens) + b"]"


def _first_of_wrong_type(row: Datatype, flat: list[Any]) -> tuple[int, Any]:
    accepted = _ACCEPTED[row.kind]
    return next((index, item) for index, item in enumerate(flat) if type(item) not in accepted)


def wrong_type(name: str, row: Datatype, index: int, value: object) -> InferenceError:
    """The element at `index` is no element of that datatype."""
    if type(value) is list:
        return invalid(f"'data' of tensor '{name}' is neither flat nor nested as its shape says")
    text = kind_of(value) if isinstance(value, dict | str) else str(value).lower() if value is not None else "null"
    return invalid(f"element {index} of tensor '{name}' is {text[:40]}; {row.name} takes {_WANTED[row.kind]}")


def _bounds(row: Datatype) -> tuple[float, float]:
    top = float(np.finfo(row.dtype).max) if row.kind == "float" else row.high
    return -top if row.kind == "float" else row.low, top


def _first_out_of_range(row: Datatype, flat: list[Any]) -> tuple[int, Any]:
    low, top = _bounds(row)
    finite = ((index, item) for index, item in enumerate(flat) if item is not None and item == item)
    wrong = ((index, item) for index, item in finite if not low <= item <= top and abs(item) != math.inf)
    return next(wrong, (0, "a value"))


def out_of_range(name: str, row: Datatype, index: int, value: object) -> InferenceError:
    """The element at `index` is a number that the datatype does not hold."""
    low, top = _bounds(row)
    return invalid(f"element {index} of tensor '{name}' is {str(value)[:40]}; {row.name} holds {low} to {top}")


def wrong_count(name: str, shape: Shape, count: int) -> InferenceError:
    """`data` has another number of elements than its shape says."""
    return invalid(f"tensor '{name}' has {count} elements in 'data', but shape {list(shape)} takes {math.prod(shape)}")


def ragged(name: str, shape: Shape) -> InferenceError:
    """`data` nests, but not as its shape says."""
    return invalid(f"'data' of tensor '{name}' is nested otherwise than its shape {list(shape)} says")
