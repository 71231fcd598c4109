"""`--against COMMIT`: the services of this checkout and of a commit, side by side, measured in turn."""

from __future__ import annotations

import io
import statistics
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from crossover.comparison.bench.measure import Bench
from crossover.comparison.bench.points import POINTS
from crossover.comparison.bench.services import USUAL
from crossover.stack.services import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from crossover.comparison.bench.measure import Figure
    from crossover.comparison.bench.services import Services

NOTABLE = 1.05
"""A ratio of CPU beyond which a row is marked."""
Pair = tuple["Figure", "Figure"]
"""A point now and at the commit, in one round."""


def export(commit: str, folder: Path) -> None:
    """Write the commit's files into `folder` and build its native parts; ValueError, one sentence, when there is none."""
    done = subprocess.run(["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(
            f"--against '{commit}' is not a commit of this checkout: {reason[-1] if reason else 'git failed'}"
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        files.extractall(folder, filter="data")
    subprocess.run([sys.executable, "protocol/native/build.py"], cwd=folder, capture_output=True, check=False)


def comparable(names: list[str]) -> list[str]:
    """The points whose figure is the services' own, and whose settings an earlier commit knows too; callers and floors run this
    checkout's code on both sides.
    """
    points = (POINTS[name] for name in names)
    return [point.name for point in points if not point.caller_pays and point.service in USUAL]


def measure(
    now: Services, before: Services, names: list[str], rounds: int, seconds: float, tell: Callable[[str], None]
) -> list[dict[str, Pair]]:
    """Each round measures every point on both, one right after the other, in a random order."""
    benches = Bench(now, seconds), Bench(before, seconds)
    random = np.random.default_rng(1)
    found: list[dict[str, Pair]] = []
    try:
        for number in range(rounds):
            figures: dict[str, Pair] = {}
            for index in random.permutation(len(names)):
                name = names[index]
                tell(f"round {number + 1}/{rounds}  {name}")
                first = int(random.integers(2))
                one = benches[first].measured(POINTS[name])
                other = benches[1 - first].measured(POINTS[name])
                figures[name] = (one, other) if first == 0 else (other, one)
            found.append(figures)
    finally:
        for bench in benches:
            bench.close()
    return found


def table(rounds: list[dict[str, Pair]], names: list[str], commit: str) -> Table:
    """A row a point: CPU per request now and then, and the ratios within each round."""
    shown = Table(title=f"This checkout against {commit}", title_justify="left")
    shown.add_column("", width=38)
    for column in ("CPU us now", "CPU us before", "CPU ratio (range)", "p50 ratio", "requests/s ratio"):
        shown.add_column(column, justify="right")
    for name in names:
        pairs = [figures[name] for figures in rounds]
        ratios = [now.cpu_us / before.cpu_us for now, before in pairs]
        ratio = statistics.median(ratios)
        mark = " !" if ratio > NOTABLE else ""
        shown.add_row(
            name,
            f"{statistics.median(now.cpu_us for now, _ in pairs):,.1f}",
            f"{statistics.median(before.cpu_us for _, before in pairs):,.1f}",
            f"{ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f}){mark}",
            f"{statistics.median(now.p50_us / before.p50_us for now, before in pairs):.2f}",
            f"{statistics.median(now.rate / before.rate for now, before in pairs):.2f}",
        )
    shown.caption = f"Medians of {len(rounds)} rounds; ! marks CPU beyond {NOTABLE:.2f} of before."
    shown.caption_justify = "left"
    return shown
