"""What the cells of a run are called among each other."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from comparison.experiment.design import Cell


def size(count: float) -> str:
    """A number of bytes for people: 256 B, 16 KB, 1 MB (units of 1024)."""
    for unit, divisor in (("MB", 1 << 20), ("KB", 1 << 10)):
        if count >= divisor:
            return f"{count / divisor:.3g} {unit}"
    return f"{count:.0f} B"


def conditions(cells: Sequence[Cell]) -> list[str]:
    """For each cell what tells it from others of its payload: "region, 4 connections"."""
    factors = [factors_of(cell) for cell in cells]
    sizes = [cell.payload_bytes for cell in cells]
    varied = [len(set(zip(sizes, values, strict=True))) > len(set(sizes)) for values in zip(*factors, strict=True)]
    return [", ".join(itertools.compress(values, varied)) for values in factors]


def factors_of(cell: Cell) -> tuple[str, ...]:
    """What a cell has beside its payload: network, connections, load."""
    return cell.network, f"{cell.concurrency} connection{'s' * (cell.concurrency > 1)}", _load(cell)


def _load(cell: Cell) -> str:
    if cell.rate is None:
        return "closed loop"
    return f"{cell.rate:g}/s" if cell.load is None else f"{cell.load:.0%} of capacity"


def place(payload_bytes: float, condition: str) -> str:
    """A cell's name among the others: "16 KB", or "16 KB, region" where there is more than one network."""
    return f"{size(payload_bytes)}, {condition}" if condition else size(payload_bytes)


def conditions_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The conditions of rows in the order in which they come."""
    return list(dict.fromkeys(row["condition"] for row in rows))
