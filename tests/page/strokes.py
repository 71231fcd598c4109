"""Handwriting for tests: two ways of writing each digit, as strokes of points in a square of side 100 (y grows down)."""

from __future__ import annotations

from math import cos, pi, sin

Stroke = list[tuple[float, float]]


def arc(x: float, y: float, across: float, down: float, start: float, end: float) -> Stroke:
    """Part of an ellipse; angles in degrees from the right, clockwise as y grows down."""
    steps = max(4, int(abs(end - start) / 24))
    angles = [(start + (end - start) * i / steps) * pi / 180 for i in range(steps + 1)]
    return [(x + across * cos(a), y + down * sin(a)) for a in angles]


DIGITS: dict[int, tuple[list[Stroke], list[Stroke]]] = {
    0: (
        [arc(50, 50, 26, 38, -90, 270)],
        [arc(48, 52, 20, 36, -60, -425)],
    ),
    1: (
        [[(34, 30), (54, 12), (52, 50), (50, 88)]],
        [[(50, 12), (49, 50), (48, 88)]],
    ),
    2: (
        [[*arc(48, 32, 20, 20, -170, 30), (48, 66), (28, 86), (74, 86)]],
        [[*arc(46, 30, 22, 18, -150, 45), (40, 74), (26, 84), (40, 82), (56, 87), (74, 84)]],
    ),
    3: (
        [[*arc(46, 31, 21, 19, -150, 80), *arc(46, 69, 24, 20, -80, 150)]],
        [[(28, 14), (70, 14), (46, 44), *arc(44, 66, 24, 22, -80, 145)]],
    ),
    4: (
        [[(56, 12), (26, 60), (76, 60)], [(60, 36), (58, 88)]],
        [[(32, 12), (28, 52), (74, 50)], [(70, 14), (64, 50), (60, 88)]],
    ),
    5: (
        [[(70, 14), (34, 14), (32, 46), *arc(46, 64, 25, 22, -110, 145)]],
        [[(34, 14), (30, 46), *arc(46, 66, 22, 21, -100, 140)], [(34, 14), (72, 12)]],
    ),
    6: (
        [[(62, 12), (42, 32), (30, 58), *arc(50, 68, 21, 19, -180, -540)]],
        [[*arc(66, 56, 36, 44, -95, -200), *arc(49, 70, 18, 17, 150, -230)]],
    ),
    7: (
        [[(26, 14), (74, 14), (56, 48), (44, 88)]],
        [[(26, 18), (72, 14), (54, 50), (46, 88)], [(36, 52), (68, 50)]],
    ),
    8: (
        [[*arc(50, 31, 18, 18, -40, -270), *arc(50, 68, 21, 19, -90, 270), *arc(50, 31, 18, 18, 90, -40)]],
        [arc(50, 30, 17, 17, -90, 270), arc(50, 67, 20, 20, -90, 270)],
    ),
    9: (
        [[*arc(49, 33, 19, 20, 0, -360), (67, 60), (62, 88)]],
        [[*arc(48, 32, 18, 19, -20, -380), (66, 36), (66, 62), *arc(48, 68, 18, 20, 10, 130)]],
    ),
}
"""Digit -> two ways of writing it."""
