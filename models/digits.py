"""`digits`: handwritten digits, a small network trained on the optical digits data that scikit-learn ships.

Input `x` FP32 [-1, 64]: an 8x8 picture, row by row, ink 0 to 16. Output `probabilities` FP32 [-1, 10].
Data: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI), as in `load_digits`. Two thirds of it are
learned from, with the distortions of `distortion.py`; the other third is never learned from.
"""

from __future__ import annotations

import json
from pathlib import Path

import distortion
import numpy as np
from network import Network
from onnx import GraphProto, TensorProto, helper, numpy_helper
from onnx_files import save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits

SEED, LAYERS, MOST_INK = 20, (64, 128, 64, 10), 16
EPOCHS, WARPED, REDRAWN = 250, 1, 3
FIRST_RATE, LAST_RATE = 1e-3, 1e-5
CONFIG = """name: "digits"
platform: "onnxruntime_onnx"
max_batch_size: 65536
input [ { name: "x" data_type: TYPE_FP32 dims: [ 64 ] } ]
output [ { name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] label_filename: "labels.txt" } ]
dynamic_batching { }
"""


def train(pictures: np.ndarray, labels: np.ndarray) -> Network:
    """Every epoch sees each real picture once, and new distortions of it."""
    rng = np.random.default_rng(SEED)
    network = Network.of(LAYERS, rng)
    square = pictures.reshape(-1, 8, 8)
    lines, readable = distortion.strokes(square)
    every = np.concatenate([np.tile(labels, 1 + WARPED), np.tile(labels[readable], REDRAWN)])
    for epoch in range(EPOCHS):
        made = [pictures]
        made += [distortion.warped(square, rng) for _ in range(WARPED)]
        made += [distortion.redrawn(lines, rng) for _ in range(REDRAWN)]
        rate = LAST_RATE + (FIRST_RATE - LAST_RATE) * (1 + np.cos(np.pi * epoch / EPOCHS)) / 2
        network.learn(np.concatenate(made) / np.float32(MOST_INK), every, rate, rng)
    return network


def graph(network: Network) -> GraphProto:
    """Gemm and Relu by turns, Softmax last; the input's scale is inside the first weights."""
    parameters = [network.parameters[0] / np.float32(MOST_INK), *network.parameters[1:]]
    names = [f"{kind}{i}" for i in range(len(parameters) // 2) for kind in ("weights", "bias")]
    nodes, at, last = [], "x", len(parameters) // 2 - 1
    for i in range(last + 1):
        nodes.append(helper.make_node("Gemm", [at, f"weights{i}", f"bias{i}"], [f"sum{i}"]))
        at = f"sum{i}"
        if i < last:
            nodes.append(helper.make_node("Relu", [at], [f"layer{i}"]))
            at = f"layer{i}"
    nodes.append(helper.make_node("Softmax", [at], ["probabilities"], axis=1))
    value = helper.make_tensor_value_info
    return helper.make_graph(
        nodes,
        "digits",
        [value("x", TensorProto.FLOAT, ["N", LAYERS[0]])],
        [value("probabilities", TensorProto.FLOAT, ["N", LAYERS[-1]])],
        [numpy_helper.from_array(array, name) for array, name in zip(parameters, names, strict=True)],
    )


def samples(pictures: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Two held-out pictures of each digit, in a fixed order."""
    chosen = [i for nth in range(2) for digit in range(10) for i in [np.flatnonzero(labels == digit)[nth]]]
    return {
        "model": "digits",
        "input": "x",
        "samples": [{"inputs": [int(v) for v in pictures[i]], "label": int(labels[i])} for i in chosen],
    }


def report(network: Network, pictures: np.ndarray, labels: np.ndarray) -> str:
    """How many of the held-out pictures are right: as they are, warped, and redrawn with other pens."""
    rng = np.random.default_rng(SEED + 1)
    square = pictures.reshape(-1, 8, 8)
    lines, readable = distortion.strokes(square)
    cases = (
        ("as they are", pictures, labels),
        ("warped", distortion.warped(square, rng), labels),
        ("redrawn with other pens", distortion.redrawn(lines, rng), labels[readable]),
    )
    rows = [f"{np.mean(network.predict(x / MOST_INK) == y):.2%} of {len(y)} {name}" for name, x, y in cases]
    return f"digits: right of the held-out pictures: {', '.join(rows)}"


def build(folder: Path) -> None:
    pictures, labels = load_digits(return_X_y=True)
    x, held_x, y, held_y = train_test_split(
        pictures.astype(np.float32), labels, test_size=1 / 3, stratify=labels, random_state=SEED
    )
    with threadpool_limits(1):  # sums in another order would give other files
        network = train(x, y)
    print(report(network, held_x, held_y))
    target = folder / "digits"
    save(graph(network), target)
    (target / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    (target / "config.pbtxt").write_text(CONFIG)
    listed = json.dumps(samples(held_x, held_y)).replace(' {"inputs"', '\n  {"inputs"')
    (target / "samples.json").write_text(listed + "\n")
