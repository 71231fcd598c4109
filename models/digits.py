"""`digits`: handwritten digits, a small network trained on the optical digits data that scikit-learn ships.

Input `x` FP32 [-1, 64]: an 8x8 picture, row by row, ink 0 to 16. Output `probabilities` FP32 [-1, 10].
Data: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI), as in `load_digits`.

The training pictures are also shifted, turned, scaled and thickened, because people who draw with a mouse do so.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper
from onnx_files import save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED, HIDDEN, COPIES = 20, (96, 64), 24
CONFIG = """name: "digits"
platform: "onnxruntime_onnx"
max_batch_size: 65536
input [ { name: "x" data_type: TYPE_FP32 dims: [ 64 ] } ]
output [ { name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] label_filename: "labels.txt" } ]
dynamic_batching { }
"""


def distort(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture [n, 8, 8] turned, scaled and shifted a little by bilinear sampling, its ink made lighter or heavier."""
    n = len(pictures)
    angle, scale = rng.normal(0, 0.13, n), rng.normal(1, 0.1, (n, 2)).clip(0.75, 1.3)
    shift, ink = rng.normal(0, 0.55, (n, 2)), rng.uniform(0.75, 1.45, n)
    row, column = np.meshgrid(np.arange(8) - 3.5, np.arange(8) - 3.5, indexing="ij")
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    y = (cos * row - sin * column) * scale[:, 0, None, None] + 3.5 + shift[:, 0, None, None]
    x = (sin * row + cos * column) * scale[:, 1, None, None] + 3.5 + shift[:, 1, None, None]
    padded = np.pad(pictures, ((0, 0), (2, 2), (2, 2)))
    y, x = (y + 2).clip(0, 10.999), (x + 2).clip(0, 10.999)
    top, left = y.astype(int), x.astype(int)
    fy, fx, each = y - top, x - left, np.arange(n)[:, None, None]
    made = (
        padded[each, top, left] * (1 - fy) * (1 - fx)
        + padded[each, top + 1, left] * fy * (1 - fx)
        + padded[each, top, left + 1] * (1 - fy) * fx
        + padded[each, top + 1, left + 1] * fy * fx
    )
    return (made * ink[:, None, None]).clip(0, 16)


def train(pictures: np.ndarray, labels: np.ndarray) -> MLPClassifier:
    rng = np.random.default_rng(SEED)
    square = pictures.reshape(-1, 8, 8)
    x = np.concatenate([pictures] * 4 + [distort(square, rng).reshape(-1, 64) for _ in range(COPIES)])
    network = MLPClassifier(HIDDEN, alpha=3e-4, batch_size=256, max_iter=60, random_state=SEED, early_stopping=False)
    return network.fit(x / 16, np.concatenate([labels] * (COPIES + 4)))


def graph(network: MLPClassifier) -> GraphProto:
    weights = [w.astype(np.float32) for w in network.coefs_]
    weights[0] = (weights[0] / np.float32(16)).astype(np.float32)
    parameters = [numpy_helper.from_array(w, f"W{i}") for i, w in enumerate(weights)]
    parameters += [numpy_helper.from_array(b.astype(np.float32), f"b{i}") for i, b in enumerate(network.intercepts_)]
    nodes, at = [], "x"
    for i in range(len(weights)):
        nodes.append(helper.make_node("Gemm", [at, f"W{i}", f"b{i}"], [f"z{i}"]))
        at = f"z{i}"
        if i + 1 < len(weights):
            nodes.append(helper.make_node("Relu", [at], [f"h{i}"]))
            at = f"h{i}"
    nodes.append(helper.make_node("Softmax", [at], ["probabilities"], axis=1))
    value = helper.make_tensor_value_info
    return helper.make_graph(
        nodes,
        "digits",
        [value("x", TensorProto.FLOAT, ["N", 64])],
        [value("probabilities", TensorProto.FLOAT, ["N", 10])],
        parameters,
    )


def samples(pictures: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Two held-out pictures of each digit, in a fixed order."""
    chosen = [i for nth in range(2) for digit in range(10) for i in [np.flatnonzero(labels == digit)[nth]]]
    return {
        "model": "digits",
        "input": "x",
        "samples": [{"inputs": [int(v) for v in pictures[i]], "label": int(labels[i])} for i in chosen],
    }


def build(folder: Path) -> None:
    pictures, labels = load_digits(return_X_y=True)
    x, held_x, y, held_y = train_test_split(pictures, labels, test_size=1 / 3, stratify=labels, random_state=SEED)
    network = train(x, y)
    right = float((network.predict(held_x / 16) == held_y).mean())
    distorted = distort(held_x.reshape(-1, 8, 8), np.random.default_rng(1)).reshape(-1, 64)
    moved = float((network.predict(distorted / 16) == held_y).mean())
    print(f"digits: {right:.2%} of {len(held_y)} held-out pictures right, {moved:.2%} of the same after distortion")
    target = folder / "digits"
    save(graph(network), target)
    (target / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    (target / "config.pbtxt").write_text(CONFIG)
    listed = json.dumps(samples(held_x, held_y)).replace('{"inputs"', '\n  {"inputs"')
    (target / "samples.json").write_text(listed + "\n")
