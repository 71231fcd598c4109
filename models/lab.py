"""Models with nothing to learn: request size, response size and compute time, each to be varied alone.

identity: x FP32 [-1, -1] in, y = x out.
sized:    x UINT8 [-1] and size INT64 [1] in, y UINT8 [size] out, y[i] = x[i mod n] (zeros where n is 0): n bytes in, m out.
          A reply as varied as the request: a constant one would make JSON look shorter, and compression better, than they are.
work:     x FP32 [-1, 16] and turns INT64 [1] in, y FP32 [-1, 16] out: the first row's eight pairs, each turned as a point of
          the plane by `turns` degrees; the other rows come back as they are, so that payload does not add to the work.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from onnx_files import save

LARGEST_REPLY = 1 << 28
"""Bytes; without a bound one small request could take all memory of the host."""
WORK_WIDTH, WORK_INNER, WORK_COPIES, WORK_STEPS = 16, 128, 16, 6


def _value(name: str, kind: int, shape: list[int | str]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _constants(**values: np.ndarray) -> list[TensorProto]:
    return [numpy_helper.from_array(array, name) for name, array in values.items()]


def identity() -> GraphProto:
    shape: list[int | str] = ["rows", "columns"]
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [_value("x", TensorProto.FLOAT, shape)],
        [_value("y", TensorProto.FLOAT, shape)],
    )


def sized() -> GraphProto:
    node = helper.make_node
    nodes = [
        *_bounded("size", "length"),
        node("Slice", ["x", "none", "length"], ["start"]),
        node("Shape", ["start"], ["have"]),
        node("Sub", ["one", "have"], ["short"]),
        node("Max", ["short", "none"], ["lack"]),
        node("Expand", ["zero_byte", "lack"], ["filler"]),
        node("Concat", ["start", "filler"], ["pattern"], axis=0),
        node("Shape", ["pattern"], ["period"]),
        node("Add", ["length", "period"], ["above"]),
        node("Sub", ["above", "one"], ["rounded"]),
        node("Div", ["rounded", "period"], ["times"]),
        node("Concat", ["times", "period"], ["table"], axis=0),
        node("Expand", ["pattern", "table"], ["lines"]),  # Tile copies a short pattern a hundred times slower
        node("Reshape", ["lines", "flat"], ["repeated"]),
        node("Slice", ["repeated", "none", "length"], ["y"]),
    ]
    return helper.make_graph(
        nodes,
        "sized",
        [_value("x", TensorProto.UINT8, ["n"]), _value("size", TensorProto.INT64, [1])],
        [_value("y", TensorProto.UINT8, ["m"])],
        _constants(
            none=np.array([0]), one=np.array([1]), flat=np.array([-1]), most=np.array([LARGEST_REPLY]),
            zero_byte=np.array([0], np.uint8),
        ),
    )  # fmt: skip


def _bounded(given: str, checked: str) -> list[NodeProto]:
    """`checked` = `given`; a value below 0 or above LARGEST_REPLY ends the run, with an error that names the node.

    ONNX has no operator that refuses; taking the second of one element is one.
    """
    node = helper.make_node
    return [
        node("Less", [given, "none"], ["below"]),
        node("Greater", [given, "most"], ["beyond"]),
        node("Or", ["below", "beyond"], ["outside"]),
        node("Cast", ["outside"], ["refused"], to=TensorProto.INT64),
        node("Gather", ["none", "refused"], ["accepted"], name=f"{given} must be 0 to {LARGEST_REPLY}"),
        node("Add", [given, "accepted"], [checked]),
    ]


def work() -> GraphProto:
    """Each turn takes 16 copies s of the row there and back, s <- (s A) B, six times, the last time turned by one degree.

    That is 400 000 multiply-adds, some 12 us on one core. Turning keeps lengths, so numbers neither vanish nor grow, and
    the angle of the answer shows how many turns were run. A holds rows of a Hadamard matrix: A Aᵀ is exactly 128 times the
    unit matrix. The products are small so that ONNX Runtime never shares one among threads, whatever its settings.
    """
    steps = [helper.make_node("Identity", ["going"], ["goes_on"])]
    for i in range(WORK_STEPS):
        back, after = ("turned_back", "next") if i == WORK_STEPS - 1 else ("back", f"state{i + 1}")
        steps.append(helper.make_node("MatMul", [f"state{i}", "there"], [f"wide{i}"]))
        steps.append(helper.make_node("MatMul", [f"wide{i}", back], [after]))
    body = helper.make_graph(
        steps,
        "turn",
        [
            _value("turn", TensorProto.INT64, []),
            _value("going", TensorProto.BOOL, []),
            _value("state0", TensorProto.FLOAT, ["copies", WORK_WIDTH]),
        ],
        [_value("goes_on", TensorProto.BOOL, []), _value("next", TensorProto.FLOAT, ["copies", WORK_WIDTH])],
    )
    node = helper.make_node
    nodes = [
        node("Slice", ["x", "none", "one", "none"], ["first"]),
        node("Slice", ["x", "one", "end", "none"], ["others"]),
        node("Tile", ["first", "copies"], ["block"]),
        node("Squeeze", ["turns"], ["trips"]),
        node("Loop", ["trips", "yes", "block"], ["worked"], body=body),
        node("Slice", ["worked", "none", "one", "none"], ["first_worked"]),
        node("Concat", ["first_worked", "others"], ["y"], axis=0),
    ]
    there, back, turned = _there_and_back()
    return helper.make_graph(
        nodes,
        "work",
        [_value("x", TensorProto.FLOAT, ["N", WORK_WIDTH]), _value("turns", TensorProto.INT64, [1])],
        [_value("y", TensorProto.FLOAT, ["N", WORK_WIDTH])],
        _constants(
            none=np.array([0]), one=np.array([1]), end=np.array([np.iinfo(np.int64).max]), yes=np.array(True),
            copies=np.array([WORK_COPIES, 1]), there=there, back=back, turned_back=turned,
        ),
    )  # fmt: skip


def _there_and_back() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A [16, 128], B [128, 16] with A B the unit matrix, and B turned by one degree."""
    hadamard = np.ones((1, 1))
    while len(hadamard) < WORK_INNER:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    there = hadamard[:WORK_WIDTH]
    cos, sin = np.cos(np.pi / 180), np.sin(np.pi / 180)
    degree = np.kron(np.eye(WORK_WIDTH // 2), np.array([[cos, sin], [-sin, cos]]))
    back = there.T / WORK_INNER
    return there.astype(np.float32), back.astype(np.float32), (back @ degree).astype(np.float32)


def image() -> GraphProto:
    """For `make bench` alone, so not among the served models: an image's bytes in, its three channels' means out."""
    return helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["means"]), helper.make_node("Flatten", ["means"], ["y"])],
        "image",
        [_value("x", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [_value("y", TensorProto.FLOAT, ["N", 3])],
    )


def build(folder: Path) -> None:
    for graph in (identity(), sized(), work()):
        save(graph, folder / graph.name)
        print(f"{graph.name}: built")
