"""ONNX's own backend node tests as models to serve: what ONNX Runtime itself answers to each, and why others are left out."""

from __future__ import annotations

import contextlib
import ctypes
import io
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime as ort

from crossover.protocol.datatypes import BY_ONNX

Arrays = list[tuple[str, str, np.ndarray]]
"""Name, OIP datatype and elements; text as bytes."""


@dataclass
class Cases:
    """What is served, and how many are not, by the reason."""

    served: list[tuple[str, Arrays, Arrays]] = field(default_factory=list)
    """Name, inputs, and the outputs that ONNX Runtime gives."""
    left_out: Counter[str] = field(default_factory=Counter)


class _LeftOutError(Exception):
    """Why a case is not served."""


def build(repository: Path) -> Cases:
    """A repository with every case that ONNX Runtime can load and run, and the protocol can carry."""
    from onnx.backend.test.case.node import collect_testcases

    ort.set_default_logger_severity(4)
    cases = Cases()
    with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        found = {case.name: case for case in collect_testcases(None)}
    for name, case in sorted(found.items()):
        data = case.model.SerializeToString()
        try:
            inputs, outputs = _asked(data, case.data_sets[0][0])
        except _LeftOutError as reason:
            cases.left_out[str(reason)] += 1
            continue
        path = repository / name / "1" / "model.onnx"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        cases.served.append((name, inputs, outputs))
    return cases


def _asked(data: bytes, arrays: list[Any]) -> tuple[Arrays, Arrays]:
    first, second = _session(data), _session(data)
    for port in (*first.get_inputs(), *first.get_outputs()):
        if port.type not in BY_ONNX:
            raise _LeftOutError(f"a port is {port.type.split('(')[0]} or a datatype that the protocol has not")
    inputs = [
        (port.name, BY_ONNX[port.type].name, np.asarray(array))
        for port, array in zip(first.get_inputs(), arrays, strict=False)
    ]
    try:
        outputs = _run(first, inputs)
        # some draw from a generator that a session keeps; training Dropout's first two draws are alike
        others = [_run(second, inputs), *(_run(first, inputs) for _ in range(3))]
    except Exception as error:
        raise _LeftOutError("ONNX Runtime can't run it") from error
    if any(not _same(a[2], b[2]) for again in others for a, b in zip(outputs, again, strict=True)):
        raise _LeftOutError("its answer is random")
    return [(name, kind, _as_bytes(kind, array)) for name, kind, array in inputs], outputs


def _session(data: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        missing = "NOT_IMPLEMENTED" in str(error)
        raise _LeftOutError("ONNX Runtime has no kernel for it" if missing else "ONNX Runtime can't load it") from error


def _run(session: ort.InferenceSession, inputs: Arrays) -> Arrays:
    ports = session.get_outputs()
    names, kinds = [port.name for port in ports], [BY_ONNX[port.type].name for port in ports]
    if "BF16" in (*kinds, *(kind for _, kind, _ in inputs)):
        values = session.run_with_ort_values(names, {name: _value(kind, array) for name, kind, array in inputs})
        made = [_array(kind, value) for kind, value in zip(kinds, values, strict=True)]
    else:
        made = session.run(names, {name: _fed(kind, array) for name, kind, array in inputs})
    return [(name, kind, _as_bytes(kind, np.asarray(one))) for name, kind, one in zip(names, kinds, made, strict=True)]


def _fed(kind: str, array: np.ndarray) -> np.ndarray:
    return array.astype(object) if kind == "BYTES" else np.asarray(array, order="C")


def _value(kind: str, array: np.ndarray) -> ort.OrtValue:
    if kind == "BF16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.asarray(array, order="C").view(np.uint16), 16)
    return ort.OrtValue.ortvalue_from_numpy(_fed(kind, array))


def _array(kind: str, value: ort.OrtValue) -> np.ndarray:
    if kind != "BF16":
        return value.numpy()
    size = value.tensor_size_in_bytes()
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(raw, ml_dtypes.bfloat16).reshape(value.shape())


def _as_bytes(kind: str, array: np.ndarray) -> np.ndarray:
    if kind != "BYTES":
        return array
    made = np.empty(array.size, object)
    made[:] = [item.encode() if isinstance(item, str) else item for item in array.ravel().tolist()]
    return made.reshape(array.shape)


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype == object:
        return one.tolist() == other.tolist()
    return one.shape == other.shape and one.tobytes() == other.tobytes()
