"""The one table of datatypes, with their names in the Open Inference Protocol, numpy, protobuf and ONNX.

Raw tensor bytes are little-endian and row-major (OIP binary tensor data extension). BYTES elements are each a
little-endian uint32 length and that many bytes. BF16 arrays use ``ml_dtypes.bfloat16``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import ml_dtypes
import numpy as np

from crossover.protocol.errors import invalid

Kind = Literal["bool", "int", "float", "bytes"]


@dataclass(frozen=True, slots=True)
class Datatype:
    """One row of the table."""

    name: str
    """OIP name, upper case."""
    dtype: np.dtype
    """numpy dtype of an array of it, little-endian (object for BYTES)."""
    kind: Kind
    contents: str | None
    """Field of InferTensorContents that carries it; None when only raw bytes do."""
    onnx: str
    """ONNX Runtime's name of the tensor type."""
    config: str
    """Name in ModelConfig's DataType enum."""
    low: int = 0
    """Smallest value of an integer type."""
    high: int = 0
    """Largest value of an integer type."""

    itemsize: int = field(init=False)
    """Bytes of one element; 0 for BYTES, whose elements vary."""
    json: bool = field(init=False)
    """Whether JSON text carries it: FP16 and BF16 have no JSON form (OIP: "use the binary extension")."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "itemsize", 0 if self.kind == "bytes" else self.dtype.itemsize)
        object.__setattr__(self, "json", self.kind != "float" or self.dtype.itemsize >= 4)


def _integer(name: str, contents: str) -> Datatype:
    dtype = np.dtype(np.dtype(name.lower()).newbyteorder("<").str)
    bounds = np.iinfo(dtype)
    return Datatype(
        name, dtype, "int", contents, f"tensor({name.lower()})", f"TYPE_{name}", int(bounds.min), int(bounds.max)
    )


DATATYPES: dict[str, Datatype] = {
    row.name: row
    for row in (
        Datatype("BOOL", np.dtype(np.bool_), "bool", "bool_contents", "tensor(bool)", "TYPE_BOOL"),
        _integer("UINT8", "uint_contents"),
        _integer("UINT16", "uint_contents"),
        _integer("UINT32", "uint_contents"),
        _integer("UINT64", "uint64_contents"),
        _integer("INT8", "int_contents"),
        _integer("INT16", "int_contents"),
        _integer("INT32", "int_contents"),
        _integer("INT64", "int64_contents"),
        Datatype("FP16", np.dtype("<f2"), "float", None, "tensor(float16)", "TYPE_FP16"),
        Datatype("BF16", np.dtype(ml_dtypes.bfloat16), "float", None, "tensor(bfloat16)", "TYPE_BF16"),
        Datatype("FP32", np.dtype("<f4"), "float", "fp32_contents", "tensor(float)", "TYPE_FP32"),
        Datatype("FP64", np.dtype("<f8"), "float", "fp64_contents", "tensor(double)", "TYPE_FP64"),
        Datatype("BYTES", np.dtype(object), "bytes", "bytes_contents", "tensor(string)", "TYPE_STRING"),
    )
}

BY_ONNX = {row.onnx: row for row in DATATYPES.values()}
BY_CONFIG = {row.config: row for row in DATATYPES.values()}
_BY_DTYPE = {row.dtype: row for row in DATATYPES.values()}


def datatype(name: str) -> Datatype:
    """The row for an OIP datatype name; INVALID_ARGUMENT when there is none."""
    row = DATATYPES.get(name)
    if row is None:
        raise invalid(f"datatype '{str(name)[:40]}' is not one of {', '.join(DATATYPES)}")
    return row


def of_array(array: np.ndarray) -> Datatype:
    """The row for a numpy array's dtype; text and bytes arrays are BYTES."""
    row = _BY_DTYPE.get(array.dtype) or _BY_DTYPE.get(array.dtype.newbyteorder("<"))
    if row is not None:
        return row
    if array.dtype.kind in "SUO":
        return DATATYPES["BYTES"]
    raise invalid(f"numpy dtype {array.dtype} has no Open Inference Protocol datatype")
