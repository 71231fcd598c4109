"""The committed models do what the scripts that make them say, on ONNX Runtime itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tests.models import drawing

MODELS = Path(__file__).parents[2] / "models"
HANDS = [
    drawing.Hand(),
    drawing.Hand(pen=3.0),
    drawing.Hand(pen=5.5),
    drawing.Hand(slant=0.2),
    drawing.Hand(slant=-0.12),
    drawing.Hand(turn=0.12),
    drawing.Hand(height=24.0),
    drawing.Hand(aspect=0.7),
]


def session(name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(MODELS / name / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def test_digits_reads_its_committed_samples() -> None:
    """The samples are held-out pictures: what README and page show is what the model answers."""
    samples = json.loads((MODELS / "digits" / "samples.json").read_text())["samples"]
    pictures = np.array([s["inputs"] for s in samples], np.float32).reshape(-1, 64)
    (answers,) = session("digits").run(None, {"x": pictures})
    assert [str(a) for a in answers.argmax(axis=1)] == [str(s["label"]) for s in samples]


def test_digits_reads_what_a_person_would_draw() -> None:
    """Drawn with a pen as on the page, two ways to write each digit, eight hands: at least nine of ten are right."""
    cases = [(digit, drawing.draw(s, hand)) for digit, both in drawing.DIGITS.items() for s in both for hand in HANDS]
    (answers,) = session("digits").run(None, {"x": np.stack([picture for _, picture in cases])})
    wrong = [d for (d, _), a in zip(cases, answers.argmax(axis=1), strict=True) if d != a]
    assert len(wrong) <= len(cases) // 10, wrong


@pytest.mark.parametrize(("given", "size"), [(0, 0), (0, 5), (3, 0), (3, 8), (8, 3), (1, 100_000)])
def test_sized_repeats_the_request_to_the_asked_length(given: int, size: int) -> None:
    x = np.arange(1, given + 1).astype(np.uint8)
    (y,) = session("sized").run(None, {"x": x, "size": np.array([size])})
    assert y.tolist() == (np.resize(x, size) if given else np.zeros(size, np.uint8)).tolist()


@pytest.mark.parametrize("size", [-1, (1 << 28) + 1])
def test_sized_refuses_a_length_that_could_take_the_host_down(size: int) -> None:
    with pytest.raises(Exception, match="size must be 0 to 268435456"):
        session("sized").run(None, {"x": np.zeros(1, np.uint8), "size": np.array([size])})


@pytest.mark.parametrize("turns", [0, 1, 90, 360])
def test_work_turns_its_first_row_one_degree_a_turn(turns: int) -> None:
    """The angle of the answer proves how many turns were run; other rows come back as they are."""
    x = np.arange(32, dtype=np.float32).reshape(2, 16)
    (y,) = session("work").run(None, {"x": x, "turns": np.array([turns])})
    before, after = (row.reshape(-1, 2) @ np.array([1, 1j]) for row in (x[0], y[0]))
    assert np.abs(after - before * np.exp(1j * np.radians(turns))).max() < 1e-3
    assert np.array_equal(y[1], x[1])
