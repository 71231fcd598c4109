"""Small ONNX models that tests make: an echo of each datatype, and a sum with an optional input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16, "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8, "INT16": TensorProto.INT16, "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64, "FP16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE, "BYTES": TensorProto.STRING,
}  # fmt: skip


def save(repository: Path, name: str, graph: onnx.GraphProto, version: int = 1) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = repository / name / str(version) / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def echo_graph(datatype: str, shape: list[int | str] | None = None) -> onnx.GraphProto:
    """y = x of one datatype."""
    dims = ["n", "m"] if shape is None else shape
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "echo",
        [helper.make_tensor_value_info("x", ONNX_TYPES[datatype], dims)],
        [helper.make_tensor_value_info("y", ONNX_TYPES[datatype], dims)],
    )


def adding_graph() -> onnx.GraphProto:
    """sum = a + b, difference = a - b; b may be left out and is then 10."""
    value = helper.make_tensor_value_info
    return helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Sub", ["a", "b"], ["difference"])],
        "adding",
        [value("a", TensorProto.FLOAT, ["n"]), value("b", TensorProto.FLOAT, [1])],
        [value("sum", TensorProto.FLOAT, ["n"]), value("difference", TensorProto.FLOAT, ["n"])],
        [onnx.numpy_helper.from_array(np.array([10], np.float32), "b")],
    )
