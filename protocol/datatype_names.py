"""The names of the datatypes, for whoever needs no arrays of them: `datatypes` has the rest, and numpy with it."""

from __future__ import annotations

DATATYPE_NAMES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES",
)  # fmt: skip
