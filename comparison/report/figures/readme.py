"""The README's picture: the ratios of p50 in the table of docs/findings.md, as one SVG file that follows light and dark.

It is drawn by hand, not by matplotlib, so that the same table always gives the same file.
"""

from __future__ import annotations

import math
import re
from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH, HEIGHT = 880, 420
LEFT, RIGHT, TOP, BOTTOM = 66, 590, 74, 356
LOWEST, HIGHEST = 0.075, 3.6
TICKS = (0.1, 0.2, 0.5, 1, 2)
SHOWN = {
    ("grpc", "rest-binary"): "grpcio against lean REST",
    ("grpc-lean-both", "rest-protobuf"): "the protocols, with equal care",
    ("grpc", "rest"): "grpcio against JSON",
    ("grpc-stock", "rest-stock"): "as usually written in Python",
}
"""Pairs of arms, and what stands at the end of their line."""
UNITS = {"B": 1, "KB": 1024, "MB": 1024 * 1024}
_NUMBER = r"(\d+(?:\.\d+)?)"
_INTERVAL = re.compile(rf"{_NUMBER} \({_NUMBER} to {_NUMBER}\)")
_STYLE = """
svg { --paper: #faf8f4; --ink: #1c1f24; --soft: #5b626c; --rule: #dcd7cc; --a: #882255; --b: #332288; --c: #6b6b1f; --d: #117733;
  font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
@media (prefers-color-scheme: dark) { svg { --paper: #15171a; --ink: #e9e6df; --soft: #a2a7ae; --rule: #353a40; --a: #e0a0c0;
  --b: #a9a0f0; --c: #d6c66a; --d: #74c08c; } }
text { fill: var(--ink); font-size: 14px; } .soft { fill: var(--soft); font-size: 12.5px; } .title { font-size: 17px; font-weight: 600; }
"""


class Point(NamedTuple):
    """A payload in bytes with the ratio of p50 and its 95 % interval."""

    payload: int
    ratio: float
    low: float
    high: float


class FindingsError(ValueError):
    """The document has no table of ratios, or a pair is missing from it."""


def svg(findings: str) -> str:
    """The picture of the table in the text of docs/findings.md; FindingsError where it is not there."""
    found = ratios(findings)
    missing = [" / ".join(pair) for pair in SHOWN if pair not in found]
    if missing:
        raise FindingsError(f"no row of p50 for {', '.join(missing)}")
    lines = {pair: found[pair] for pair in SHOWN}
    described = "; ".join(
        f"{said}: " + ", ".join(f"{point.ratio:g} at {_size(point.payload)}" for point in lines[pair])
        for pair, said in SHOWN.items()
    )
    title = "gRPC's median latency as a multiple of REST's"
    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="var(--paper)"/>',
        f'<text class="title" x="{LEFT}" y="30">{escape(title)}</text>',
        f'<text class="soft" x="{LEFT}" y="51">{escape(_origin(findings))}</text>',
        *_axes(lines[next(iter(SHOWN))]),
        *(part for pair, name in zip(SHOWN, "abcd", strict=True) for part in _line(lines[pair], name)),
        *_labels(lines),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{title}. {described}", quote=True)}">\n<style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def ratios(findings: str) -> dict[tuple[str, str], list[Point]]:
    """The p50 rows of the table: each pair's ratio at each payload."""
    head = re.search(r"^\| pair \| metric \|(.*)\|$", findings, re.MULTILINE)
    if head is None:
        raise FindingsError("there is no table that begins with '| pair | metric |'")
    payloads = [_bytes(cell) for cell in head[1].split("|")]
    found = {}
    for pair, cells in re.findall(r"^\| `([\w-]+` / `[\w-]+)`[^|]*\| p50 \|(.*)\|$", findings, re.MULTILINE):
        grpc, rest = pair.split("` / `")
        values = [tuple(map(float, values.groups())) for cell in cells.split("|") if (values := _INTERVAL.search(cell))]
        if len(values) == len(payloads):
            found[grpc, rest] = [Point(payload, *each) for payload, each in zip(payloads, values, strict=True)]
    return found


def _origin(findings: str) -> str:
    about = re.search(r"One run of (\S+) on a ([\w -]+?):", findings)
    return f"make compare ARGS=--thorough, {about[1]}, {about[2]}" if about else "make compare ARGS=--thorough"


def _bytes(text: str) -> int:
    number, unit = text.split()
    return int(number) * UNITS[unit]


def _size(payload: int) -> str:
    unit = max((name for name, size in UNITS.items() if payload >= size), key=UNITS.__getitem__)
    return f"{payload // UNITS[unit]} {unit}"


def _y(ratio: float) -> float:
    share = math.log(ratio / LOWEST) / math.log(HIGHEST / LOWEST)
    return round(BOTTOM - share * (BOTTOM - TOP), 1)


def _x(payload: int, first: int, last: int) -> float:
    return round(LEFT + 34 + math.log(payload / first) / math.log(last / first) * (RIGHT - LEFT - 54), 1)


def _places(points: list[Point]) -> list[float]:
    return [_x(point.payload, points[0].payload, points[-1].payload) for point in points]


def _axes(points: list[Point]) -> Iterator[str]:
    for ratio in TICKS:
        weight = 'stroke="var(--ink)" stroke-width="1.4"' if ratio == 1 else 'stroke="var(--rule)"'
        yield f'<path d="M{LEFT} {_y(ratio)}H{RIGHT}" {weight}/>'
        yield f'<text class="soft" x="{LEFT - 8}" y="{_y(ratio) + 4}" text-anchor="end">{ratio:g}×</text>'
    for point, x in zip(points, _places(points), strict=True):
        yield f'<text class="soft" x="{x}" y="{BOTTOM + 20}" text-anchor="middle">{_size(point.payload)}</text>'
    yield f'<text class="soft" x="{RIGHT}" y="{_y(3) + 4}" text-anchor="end">REST is faster ↑</text>'
    yield f'<text class="soft" x="{LEFT + 4}" y="{_y(0.12)}">gRPC is faster ↓</text>'
    yield f'<text class="soft" x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 44}" text-anchor="middle">tensor bytes each way</text>'


def _line(points: list[Point], name: str) -> Iterator[str]:
    places = list(zip(_places(points), points, strict=True))
    path = "L".join(f"{x} {_y(point.ratio)}" for x, point in places)
    yield f'<g stroke="var(--{name})" fill="var(--{name})">'
    yield f'<path d="M{path}" fill="none" stroke-width="2.4"/>'
    for x, point in places:
        yield f'<path d="M{x} {_y(point.low)}V{_y(point.high)}" stroke-width="1.4"/>'
        yield f'<circle cx="{x}" cy="{_y(point.ratio)}" r="3.6"/>'
    yield "</g>"


def _labels(lines: dict[tuple[str, str], list[Point]]) -> Iterator[str]:
    """At each line's end, pushed apart where two ends lie close."""
    ends = sorted(
        (_y(points[-1].ratio), name, pair) for (pair, points), name in zip(lines.items(), "abcd", strict=True)
    )
    y = -math.inf
    placed = []
    for wanted, name, pair in ends:
        y = max(wanted, y + 36)
        placed.append((y, name, pair))
    below = max(0.0, placed[-1][0] - BOTTOM + 10)
    for y, name, pair in placed:
        at = round(y - (below if y > _y(0.5) else 0) - 3, 1)
        yield f'<text x="{RIGHT + 12}" y="{at}" style="fill: var(--{name}); font-weight: 600; font-size: 13px">{escape(SHOWN[pair])}</text>'
        yield f'<text class="soft" x="{RIGHT + 12}" y="{round(at + 16, 1)}">{" / ".join(pair)}</text>'
