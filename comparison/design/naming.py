"""What the cells of a run are called among each other, and the basic steps of its machine."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from crossover.comparison.design.cells import MIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from crossover.comparison.design.cells import Cell

STEPS = {
    "syscall_ns": "a syscall", "context_switch_ns": "a context switch", "copy_1mb_us": "copying 1 MB",
    "scattered_read_ns": "a read beside the caches", "bytecode_ns": "Python bytecode", "tls_record_16kb_us": "a TLS record",
}  # fmt: skip
"""The basic steps of a machine that machine/calibration.py measures, in words."""


def plain(value: float, sign: str = "") -> str:
    """A number with three significant digits and no exponent, as people read it; all digits of a large one."""
    return f"{value:{sign},.0f}" if abs(value) >= 99.95 else f"{value:{sign}.3g}"


def size(count: float) -> str:
    """A number of bytes for people: 256 B, 16 KB, 1 MB (units of 1024)."""
    for unit, divisor in (("MB", 1 << 20), ("KB", 1 << 10)):
        if count >= divisor:
            return f"{count / divisor:.3g} {unit}"
    return f"{count:.0f} B"


def conditions(cells: Sequence[Cell]) -> list[str]:
    """For each cell what tells it from others of its payload: "region, 4 connections".

    The load counts only where cells differ in nothing else: elsewhere it follows from what the arms can take.
    """
    alike = (
        [((cell.payload_bytes, cell.concurrency), cell.network) for cell in cells],
        [((cell.payload_bytes, cell.network), cell.concurrency) for cell in cells],
        [((cell.payload_bytes, cell.network, cell.concurrency), _load(cell)) for cell in cells if not cell.slow],
    )
    varied = [len(set(pairs)) > len({rest for rest, _ in pairs}) for pairs in alike]
    told = _told_cases(cells)
    return [
        ", ".join([*filter(None, (case,)), *itertools.compress(factors_of(cell), varied)])
        for cell, case in zip(cells, told, strict=True)
    ]


def _told_cases(cells: Sequence[Cell]) -> list[str]:
    """The case of cells that their payload does not tell from others: of a mix, and of cases with equal payloads."""
    named = {(cell.payload_bytes, cell.case) for cell in cells if cell.case != MIX}
    sizes = Counter(size for size, _ in named)
    return [cell.case if cell.case == MIX or sizes[cell.payload_bytes] > 1 else "" for cell in cells]


def factors_of(cell: Cell) -> tuple[str, ...]:
    """What a cell has beside its payload: network, connections, load."""
    return cell.network, f"{cell.concurrency} connection{'s' * (cell.concurrency > 1)}", _load(cell)


def _load(cell: Cell) -> str:
    if cell.rate is None:
        return "closed loop"
    return f"{cell.rate:g}/s" if cell.load is None else f"{cell.load:.0%} of capacity"


def place(payload_bytes: float, condition: str, *, slow: bool = False, case: str = "") -> str:
    """A cell's name among the others: "16 KB", "16 KB, region" where there is more than one network, "..., slow arms";
    "small (24 B)" where what is sent has a name.
    """
    shown = f"{case} ({size(payload_bytes)})" if case else size(payload_bytes)
    return ", ".join(filter(None, (shown, condition.removeprefix(case).removeprefix(", "), slow * "slow arms")))


def conditions_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The conditions of rows in the order in which they come."""
    return list(dict.fromkeys(row["condition"] for row in rows))


OVER: dict[str, Callable[[float], str]] = {
    "payload": size,
    "concurrency": lambda value: f"{value:.0f} connection{'s' * (value > 1)}",
    "rate": lambda value: f"{value:.3g}/s",
}
"""What the answer may flip over, and how its values are said."""


def lines(cells: Sequence[Cell], over: str) -> list[tuple[str, list[int]]]:
    """Groups of cells that differ in one thing of `OVER` alone, ascending in it, with what they have in common in words."""
    values = [_value(cell, over) for cell in cells]
    groups: dict[str, list[int]] = defaultdict(list)
    for c, common in enumerate(_common(cells, over)):
        if values[c] is not None:
            groups[common].append(c)
    ordered = {common: sorted(found, key=lambda c: values[c] or 0.0) for common, found in groups.items()}
    return [(common, found) for common, found in ordered.items() if len({values[c] for c in found}) > 1]


def value_of(cell: Cell, over: str) -> float:
    """What the cell has of the thing; 0 for the rate of the closed loop."""
    return _value(cell, over) or 0.0


def _value(cell: Cell, over: str) -> float | None:
    return {"payload": float(cell.payload_bytes), "concurrency": float(cell.concurrency), "rate": cell.rate}[over]


def _common(cells: Sequence[Cell], over: str) -> list[str]:
    """For each cell what it has beside `over`, as far as that varies in the run."""
    if over == "payload":
        return conditions(cells)
    rows = [
        (size(cell.payload_bytes), cell.network, *((_load(cell),) if over == "concurrency" else (factors_of(cell)[1],)))
        for cell in cells
    ]
    varied = [len(set(values)) > 1 for values in zip(*rows, strict=True)]
    return [", ".join(itertools.compress(values, varied)) for values in rows]
