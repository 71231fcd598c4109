"""Models with nothing to learn: request size, response size and compute time, each to be varied alone.

identity: y = x, FP32 [-1, -1].
sized:    x UINT8 [-1] and size INT64 [1] in, y UINT8 [size] out, every byte the sum of x modulo 256: n bytes in, m out.
work:     x FP32 [-1, 16] and turns INT64 [1] in, y FP32 [-1, 16] out: `turns` rounds of the same small computation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import GraphProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx_files import save

WORK_WIDTH, WORK_INNER = 16, 128


def _value(name: str, kind: int, shape: list[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def identity() -> GraphProto:
    shape: list[int | str] = ["rows", "columns"]
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [_value("x", TensorProto.FLOAT, shape)],
        [_value("y", TensorProto.FLOAT, shape)],
    )


def sized() -> GraphProto:
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.INT32),
        helper.make_node("ReduceSum", ["wide"], ["sum"], keepdims=0),
        helper.make_node("Mod", ["sum", "byte"], ["rest"]),
        helper.make_node("Cast", ["rest"], ["fill"], to=TensorProto.UINT8),
        helper.make_node("Expand", ["fill", "size"], ["y"]),
    ]
    return helper.make_graph(
        nodes,
        "sized",
        [_value("x", TensorProto.UINT8, ["n"]), _value("size", TensorProto.INT64, [1])],
        [_value("y", TensorProto.UINT8, ["m"])],
        [numpy_helper.from_array(np.array(256, np.int32), "byte")],
    )


def work() -> GraphProto:
    """Each turn is y <- tanh(tanh(y A) B), about 20 us on one core for one row, the same for every turn."""
    rng = np.random.default_rng(7)
    a = (rng.standard_normal((WORK_WIDTH, WORK_INNER)) / 4).astype(np.float32)
    b = (rng.standard_normal((WORK_INNER, WORK_WIDTH)) / 12).astype(np.float32)
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("MatMul", ["state", "A"], ["p"]),
            helper.make_node("Tanh", ["p"], ["q"]),
            helper.make_node("MatMul", ["q", "B"], ["r"]),
            helper.make_node("Tanh", ["r"], ["next"]),
        ],
        "turn",
        [
            _value("turn", TensorProto.INT64, []),
            _value("going", TensorProto.BOOL, []),
            _value("state", TensorProto.FLOAT, ["N", WORK_WIDTH]),
        ],
        [_value("goes_on", TensorProto.BOOL, []), _value("next", TensorProto.FLOAT, ["N", WORK_WIDTH])],
        [numpy_helper.from_array(a, "A"), numpy_helper.from_array(b, "B")],
    )
    nodes = [
        helper.make_node("Squeeze", ["turns"], ["trips"]),
        helper.make_node("Loop", ["trips", "yes", "x"], ["y"], body=body),
    ]
    return helper.make_graph(
        nodes,
        "work",
        [_value("x", TensorProto.FLOAT, ["N", WORK_WIDTH]), _value("turns", TensorProto.INT64, [1])],
        [_value("y", TensorProto.FLOAT, ["N", WORK_WIDTH])],
        [numpy_helper.from_array(np.array(True), "yes")],
    )


def build(folder: Path) -> None:
    for graph in (identity(), sized(), work()):
        save(graph, folder / graph.name)
        print(f"{graph.name}: built")
