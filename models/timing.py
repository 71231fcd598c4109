"""What one run of each model takes here, for information: median wall time on one thread, without any service."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

RUNS = 200
Feed = dict[str, np.ndarray]


def _sized(given: int, wanted: int) -> Feed:
    return {"x": np.arange(given, dtype=np.uint8), "size": np.array([wanted])}


def _work(rows: int, turns: int) -> Feed:
    return {"x": np.ones((rows, 16), np.float32), "turns": np.array([turns])}


CASES: tuple[tuple[str, str, Feed], ...] = (
    ("digits", "1 picture", {"x": np.ones((1, 64), np.float32)}),
    ("digits", "32 pictures", {"x": np.ones((32, 64), np.float32)}),
    ("identity", "256 B", {"x": np.ones((1, 64), np.float32)}),
    ("identity", "1 MiB", {"x": np.ones((1, 1 << 18), np.float32)}),
    ("sized", "16 B in, 16 B out", _sized(16, 16)),
    ("sized", "1 MiB in, 1 B out", _sized(1 << 20, 1)),
    ("sized", "1 B in, 1 MiB out", _sized(1, 1 << 20)),
    ("work", "no turn", _work(1, 0)),
    ("work", "1 turn", _work(1, 1)),
    ("work", "10 turns", _work(1, 10)),
    ("work", "100 turns", _work(1, 100)),
    ("work", "10 turns, 1 MiB", _work(1 << 14, 10)),
)


def show(folder: Path) -> None:
    """Print a row a case, in microseconds."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for model, case, feed in CASES:
        session = ort.InferenceSession(folder / model / "1" / "model.onnx", options, providers=["CPUExecutionProvider"])
        print(f"{model:9} {case:18} {_median_us(session, feed):8.1f} us")


def _median_us(session: ort.InferenceSession, feed: Feed) -> float:
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter_ns()
        session.run(None, feed)
        taken.append(time.perf_counter_ns() - began)
    return statistics.median(taken) / 1000
