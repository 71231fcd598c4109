"""More pictures out of the real ones, because people who draw with a mouse slant, shrink and use other pens.

The data set's bitmaps have strokes three times as thick as a mouse's. So beside turning and stretching the grey pictures
(`warped`), each is thinned to its stroke, and the stroke is drawn again with a pen of another width (`redrawn`).

Pictures are FP32 [n, 8, 8], ink 0 to 16; bitmaps are bool [n, 32, 32], four pixels a block each way, as in the data set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK, SIDE = 4, 32
PEN_RADII = (1.0, 1.5, 2.0, 2.5, 3.0)
INK_LEVELS = (3, 5, 7, 9, 11, 13)
_NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
"""Clockwise from above, as Zhang and Suen number them."""


@dataclass(frozen=True, slots=True)
class Strokes:
    """The stroke pixels of n pictures: whose they are, and where, from the middle, in units of the picture's half side."""

    count: int
    owner: np.ndarray
    y: np.ndarray
    x: np.ndarray


def warped(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture turned, slanted, stretched and shifted a little, its ink made lighter or heavier."""
    n = len(pictures)
    middle = (np.arange(SIDE, dtype=np.float32) + 0.5) / (SIDE / 2) - 1
    y, x = _bent(*np.meshgrid(middle, middle, indexing="ij"), np.arange(n)[:, None, None], n, rng)
    size, shift = _each(rng.uniform(0.85, 1.25, n)), rng.normal(0, 0.07, (2, n))
    ink = _bilinear(pictures, y * size + _each(shift[0]), x * size + _each(shift[1]))
    return _blocks((ink * _each(rng.uniform(0.75, 1.4, n))).clip(0, 16) / 16)


def strokes(pictures: np.ndarray) -> tuple[Strokes, np.ndarray]:
    """Each picture thinned to lines one pixel wide, and the indices [n] of those pictures that stay readable so.

    Small loops are filled in the grey pictures: they are sharpened, cut at several levels of ink, and the level whose
    lines, drawn again, are most like the picture is taken; where none is, the picture is left out.
    """
    middle = (np.arange(SIDE, dtype=np.float32) + 0.5) / (SIDE / 2) - 1
    grid = np.meshgrid(middle, middle, indexing="ij")
    fine = _bilinear(pictures, *(np.broadcast_to(axis, (len(pictures), SIDE, SIDE)) for axis in grid))
    sharp = fine + 2 * (fine - _mean_around(fine, 9))
    tried = np.stack([thinned(sharp > level) for level in INK_LEVELS])
    alike = np.stack([_likeness(lines, pictures) for lines in tried])
    readable = np.flatnonzero(alike.max(axis=0) > 0.93)
    best = tried[alike.argmax(axis=0)[readable], readable]
    owner, row, column = np.nonzero(best)
    return Strokes(len(readable), owner, middle[row], middle[column]), readable


def redrawn(lines: Strokes, rng: np.random.Generator) -> np.ndarray:
    """The strokes bent a little and drawn with a pen 2 to 6 pixels wide, 20 to 32 high, their box centred."""
    n, owner = lines.count, lines.owner
    y, x = _bent(lines.y, lines.x, owner, n, rng)
    radius = rng.choice(PEN_RADII, n)
    y, x = _boxed(y, owner, n), _boxed(x, owner, n)
    height = np.maximum(_extent(y, owner, n), _extent(x, owner, n) / 1.2)
    scale = ((rng.uniform(20, SIDE, n) - 2 * radius) / np.maximum(height, 0.1))[owner]
    nudge = rng.normal(0, 0.5, (2, n))[:, owner]
    row = np.floor(y * scale + nudge[0] + SIDE / 2).astype(int).clip(0, SIDE - 1)
    column = np.floor(x * scale + nudge[1] + SIDE / 2).astype(int).clip(0, SIDE - 1)
    dots = np.zeros((n, SIDE, SIDE), bool)
    dots[owner, row, column] = True
    made = np.empty_like(dots)
    for width in PEN_RADII:
        made[radius == width] = _penned(dots[radius == width], width)
    return _blocks(made)


def thinned(bitmaps: np.ndarray) -> np.ndarray:
    """Zhang and Suen, "A fast parallel algorithm for thinning digital patterns", CACM 27(3), 1984."""
    padded = np.pad(bitmaps, ((0, 0), (1, 1), (1, 1)))
    while True:
        before = padded.sum()
        for first in (True, False):
            padded[:, 1:-1, 1:-1] &= ~_removable(padded, first)
        if padded.sum() == before:
            return padded[:, 1:-1, 1:-1]


def _removable(padded: np.ndarray, first: bool) -> np.ndarray:
    around = [padded[:, 1 + dy : SIDE + 1 + dy, 1 + dx : SIDE + 1 + dx] for dy, dx in _NEIGHBOURS]
    inked = np.sum(around, axis=0)
    rises = np.sum([~here & after for here, after in zip(around, around[1:] + around[:1], strict=True)], axis=0)
    north, east, south, west = around[0], around[2], around[4], around[6]
    keeps = (north & east & south) | (east & south & west) if first else (north & east & west) | (north & south & west)
    return (inked >= 2) & (inked <= 6) & (rises == 1) & ~keeps


def _bent(
    y: np.ndarray, x: np.ndarray, owner: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turned, slanted, stretched and gently waved, each picture in its own way; `owner` says whose each point is."""
    turn, slant = rng.normal(0, 0.12, n)[owner], rng.normal(0, 0.18, n)[owner]
    aspect = np.exp(rng.uniform(np.log(0.7), np.log(1.2), n))[owner]
    turned_y, turned_x = np.cos(turn) * y - np.sin(turn) * x, np.sin(turn) * y + np.cos(turn) * x
    turned_x = (turned_x + slant * turned_y) / aspect
    size, phase = rng.normal(0, 0.06, (4, n)), rng.uniform(0, 2 * np.pi, (4, n))
    wave = [size[i][owner] * np.sin(2.5 * at + phase[i][owner]) for i, at in enumerate((y, x, y, x))]
    return turned_y + wave[0] + wave[1], turned_x + wave[2] + wave[3]


def _each(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]


def _edges(values: np.ndarray, owner: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    np.minimum.at(low, owner, values)
    np.maximum.at(high, owner, values)
    return low, high


def _boxed(values: np.ndarray, owner: np.ndarray, n: int) -> np.ndarray:
    low, high = _edges(values, owner, n)
    return values - ((low + high) / 2)[owner]


def _extent(values: np.ndarray, owner: np.ndarray, n: int) -> np.ndarray:
    low, high = _edges(values, owner, n)
    return high - low


def _penned(dots: np.ndarray, radius: float) -> np.ndarray:
    """Every pixel within `radius` of a dot."""
    reach = int(np.ceil(radius))
    padded = np.pad(dots, ((0, 0), (reach, reach), (reach, reach)))
    made = np.zeros_like(dots)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy * dy + dx * dx <= radius * radius:
                made |= padded[:, reach + dy : reach + dy + SIDE, reach + dx : reach + dx + SIDE]
    return made


def _mean_around(ink: np.ndarray, width: int) -> np.ndarray:
    """Mean of the square of `width` pixels (odd) around each pixel; the picture's edge goes on outside."""
    reach = width // 2
    padded = np.pad(ink, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    rows = sum(padded[:, i : i + SIDE] for i in range(width))
    return sum(rows[:, :, i : i + SIDE] for i in range(width)) / width**2


def _likeness(lines: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Cosine [n] between each picture and its lines, drawn with the pen that fits best."""
    wanted = pictures.reshape(len(pictures), -1)
    made = [_blocks(_penned(lines, radius)) for radius in (1.5, 2.0, 3.0, 4.0)]
    norms = [np.linalg.norm(each, axis=1) * np.linalg.norm(wanted, axis=1) for each in made]
    return np.max(
        [(each * wanted).sum(axis=1) / norm.clip(1e-9) for each, norm in zip(made, norms, strict=True)], axis=0
    )


def _bilinear(pictures: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Ink [n, 32, 32] at points given in units of the half side; nothing beyond the edges."""
    rim, last = 2, pictures.shape[1] + 3
    padded = np.pad(pictures, ((0, 0), (rim, rim), (rim, rim)))
    y, x = ((axis + 1) * pictures.shape[1] / 2 - 0.5 + rim for axis in (y, x))
    y, x = y.clip(0, last - 0.001), x.clip(0, last - 0.001)
    top, left, each = y.astype(int), x.astype(int), np.arange(len(pictures))[:, None, None]
    down, right = y - top, x - left
    upper = padded[each, top, left] * (1 - right) + padded[each, top, left + 1] * right
    lower = padded[each, top + 1, left] * (1 - right) + padded[each, top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


def _blocks(ink: np.ndarray) -> np.ndarray:
    """Ink 0 to 1 of each pixel, summed in blocks of 4x4: [n, 64]."""
    side = SIDE // BLOCK
    return ink.reshape(-1, side, BLOCK, side, BLOCK).sum(axis=(2, 4)).reshape(-1, side * side).astype(np.float32)
