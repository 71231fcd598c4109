"""The summary's tables as CSV."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def csv_files(summary: dict[str, Any], folder: Path) -> None:
    """Write cells.csv and arms.csv into `folder`; lists and tables within a row become columns of their own."""
    _write(folder / "cells.csv", [_flat(row) for row in summary["cells"]])
    _write(folder / "arms.csv", [_flat(row) for row in summary["arms"]])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{key}": item for key, item in _flat(value).items()}
        elif isinstance(value, list):
            flat |= {f"{name}.{place}": item for place, item in enumerate(value)}
        else:
            flat[name] = value
    return flat


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
