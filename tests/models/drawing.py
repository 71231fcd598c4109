"""Digits drawn by script, reduced as the data set was: a 32x32 bitmap, ink counted in 4x4 blocks, 0 to 16."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Stroke = list[tuple[float, float]]


def _arc(x: float, y: float, rx: float, ry: float, begin: float, end: float) -> Stroke:
    """Part of an ellipse; degrees clockwise from three o'clock, as y points down."""
    angles = np.radians(np.linspace(begin, end, 25))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


# Two hands, a unit square each, x to the right and y down. No network learns from them, but distortions were chosen by them.
DIGITS: dict[int, tuple[list[Stroke], list[Stroke]]] = {
    0: ([_arc(0.5, 0.5, 0.33, 0.5, 0, 360)], [_arc(0.5, 0.5, 0.25, 0.5, -70, 300)]),
    1: ([[(0.5, 0), (0.5, 1)]], [[(0.3, 0.22), (0.55, 0), (0.55, 1)]]),
    2: (
        [[*_arc(0.5, 0.27, 0.3, 0.27, 180, 380), (0.2, 1), (0.82, 1)]],
        [[*_arc(0.48, 0.3, 0.32, 0.3, 200, 400), (0.45, 0.75), (0.15, 0.98), (0.5, 0.93), (0.85, 1)]],
    ),
    3: (
        [[*_arc(0.45, 0.25, 0.3, 0.25, 200, 450), *_arc(0.45, 0.75, 0.34, 0.25, -90, 160)]],
        [[(0.2, 0), (0.78, 0), (0.45, 0.38), *_arc(0.45, 0.69, 0.34, 0.31, -80, 150)]],
    ),
    4: (
        [[(0.62, 1), (0.62, 0), (0.12, 0.68), (0.9, 0.68)]],
        [[(0.2, 0), (0.16, 0.5), (0.85, 0.5)], [(0.68, 0.1), (0.62, 1)]],
    ),
    5: (
        [[(0.8, 0), (0.25, 0), (0.22, 0.45), *_arc(0.46, 0.7, 0.33, 0.3, -110, 140)]],
        [[(0.28, 0), (0.25, 0.42), *_arc(0.46, 0.71, 0.32, 0.29, -100, 150)], [(0.28, 0), (0.8, 0.02)]],
    ),
    6: (
        [[(0.7, 0), (0.4, 0.25), *_arc(0.5, 0.72, 0.3, 0.28, 190, 540)]],
        [[(0.5, 0), (0.28, 0.4), *_arc(0.5, 0.75, 0.26, 0.25, 180, -180)]],
    ),
    7: ([[(0.15, 0), (0.85, 0), (0.4, 1)]], [[(0.15, 0.03), (0.82, 0), (0.45, 1)], [(0.3, 0.5), (0.8, 0.48)]]),
    8: (
        [_arc(0.5, 0.25, 0.25, 0.25, 90, 450), _arc(0.5, 0.75, 0.31, 0.25, -90, 270)],
        [[*_arc(0.5, 0.24, 0.24, 0.24, -30, -270), *_arc(0.5, 0.74, 0.27, 0.26, -90, 270), *_arc(0.5, 0.24, 0.24, 0.24, 90, -30)]],
    ),
    9: (
        [[*_arc(0.5, 0.28, 0.28, 0.28, 0, -360), (0.75, 0.6), (0.6, 1)]],
        [[*_arc(0.48, 0.27, 0.28, 0.27, -20, -370), (0.76, 1)]],
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Hand:
    """How somebody draws: height and pen width in pixels of 32, slant and turn in radians, width over height."""

    height: float = 28.0
    pen: float = 4.0
    slant: float = 0.0
    turn: float = 0.0
    aspect: float = 0.9


def draw(strokes: list[Stroke], hand: Hand) -> np.ndarray:
    """The picture [64] FP32, row by row, ink 0 to 16."""
    lines = [_placed(np.array(stroke), hand) for stroke in strokes]
    every = np.concatenate(lines)
    middle = (every.min(axis=0) + every.max(axis=0)) / 2
    bitmap = np.zeros((32, 32), bool)
    for line in lines:
        bitmap |= _inked(line - middle + 16, hand.pen / 2)
    return bitmap.reshape(8, 4, 8, 4).sum(axis=(1, 3)).astype(np.float32).ravel()


def _placed(points: np.ndarray, hand: Hand) -> np.ndarray:
    x, y = (points[:, 0] - 0.5) * hand.aspect, points[:, 1] - 0.5
    x = x - y * math.tan(hand.slant)
    cos, sin = math.cos(hand.turn), math.sin(hand.turn)
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=1) * (hand.height - hand.pen)


def _inked(line: np.ndarray, radius: float) -> np.ndarray:
    """Pixels [32, 32] whose middle is within `radius` of the polyline."""
    rows, columns = np.mgrid[0:32, 0:32] + 0.5
    pixels = np.stack([columns, rows], axis=-1)[:, :, None, :]
    begin, along = line[:-1], np.diff(line, axis=0)
    length = np.maximum((along**2).sum(axis=1), 1e-9)
    part = (((pixels - begin) * along).sum(axis=-1) / length).clip(0, 1)
    nearest = begin + part[..., None] * along
    return (((pixels - nearest) ** 2).sum(axis=-1) <= radius**2).any(axis=2)
