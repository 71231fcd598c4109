"""OIP tensors as JSON objects under ``/api``: standard JSON, where "NaN", "Infinity" and "-Infinity" are strings.

The OIP codec writes NaN as ``null`` and the infinities as bare literals, since its clients expect them. A browser's
`JSON.parse` refuses the literals, so the resources of the app server use strings both ways.
"""

from __future__ import annotations

import numpy as np
import orjson

from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.json import values as json_values
from crossover.protocol.codecs.json.text import MAX_DEPTH, Fragment, dumps, too_deep
from crossover.protocol.codecs.json.unread import UnreadArray
from crossover.protocol.datatypes import Datatype
from crossover.protocol.errors import InferenceError, invalid
from crossover.protocol.limits import MAX_TENSORS, check_count
from crossover.protocol.tensors import Tensor, declared

_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def read_tensors(items: object) -> list[Tensor]:
    """The input tensors in a body's `inputs`; INVALID_ARGUMENT that says what is wrong where."""
    if not json_codec.is_array(items) or not len(items):
        raise invalid('\'inputs\' takes an array of at least one tensor: {"name", "datatype", "shape", "data"}')
    check_count(items, MAX_TENSORS, "inputs")
    return [_tensor(item, index) for index, item in enumerate(items)]


def text_of(items: object) -> str:
    """The JSON text of tensors that `parse` gave."""
    return orjson.dumps(items, default=_untouched).decode()


def _untouched(data: object) -> Fragment:
    if type(data) is UnreadArray:
        return Fragment(data.text)
    raise TypeError


def write_tensors(tensors: list[Tensor]) -> bytes:
    """The JSON array of tensor objects; NOT_CARRIED for tensors that JSON cannot hold."""
    return dumps([{**json_codec.described(tensor), "data": Fragment(_data(tensor))} for tensor in tensors])


def _tensor(item: object, index: int) -> Tensor:
    item, name, kind, dims = json_codec.tensor_head(item, "inputs", index)
    if "data" not in item:
        raise invalid(f"tensor '{name}' has no 'data'; it takes an array of elements")
    row, shape = declared(name, kind, dims)
    data = item["data"]
    if type(data) is UnreadArray:
        return data.tensor(name, row, shape, _no_number if row.kind == "float" else None)
    data = _numbers(name, data) if row.kind == "float" else data
    return Tensor(name, row, shape, array=json_values.to_array(name, row, shape, data))


def _numbers(name: str, data: object, levels: int = MAX_DEPTH) -> object:
    """`data` with the special strings as floats, however it nests; ``null`` is no number here."""
    if type(data) is list:
        if not levels:
            raise too_deep()
        kinds = set(map(type, data))
        if kinds <= {int, float}:
            return data
        return [_numbers(name, item, levels - 1) for item in data]
    if data is None or (type(data) is str and data not in _SPECIAL):
        raise _no_number(name, data)
    return _SPECIAL[data] if type(data) is str else data


def _no_number(name: str, data: object) -> InferenceError:
    if data is None:
        return invalid(f"tensor '{name}' holds null; a missing number is the string \"NaN\"")
    return invalid(f"tensor '{name}' holds the string '{str(data)[:40]}'; the only ones are {', '.join(_SPECIAL)}")


def _data(tensor: Tensor) -> bytes:
    row: Datatype = tensor.datatype
    if row.kind != "float" or not row.json or np.isfinite(tensor.array).all():
        return json_values.to_text(tensor)
    flat = tensor.array.reshape(-1)
    parts = orjson.dumps(np.ascontiguousarray(flat), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    for index in np.flatnonzero(~np.isfinite(flat)).tolist():
        parts[index] = _special_text(float(flat[index]))
    return b"[" + b",".join(parts) + b"]"


def _special_text(value: float) -> bytes:
    if value != value:
        return b'"NaN"'
    return b'"Infinity"' if value > 0 else b'"-Infinity"'
