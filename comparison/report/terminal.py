"""The run's answer in the terminal: a compact verdict and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from crossover.comparison.analysis.measures import APPARATUS
from crossover.comparison.experiment import naming
from crossover.comparison.report import words

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH = 118
_COLOURS = {"grpc": "green", "rest": "blue", "equal": "cyan", "undecided": "yellow", "invalid": "red"}


def show(summary: dict[str, Any], folder: Path) -> None:
    """Print verdict, tables, controls, warnings and where the report is."""
    to = console()
    to.print(Panel(Group(*(Text("• " + line) for line in words.verdict(summary))), title="Verdict"))
    for pair in words.pairs(summary):
        cells = [cell for cell in summary["cells"] if cell["pair"] == pair]
        for condition in naming.conditions_of(cells):
            to.print(_pair(pair, condition, [cell for cell in cells if cell["condition"] == condition]))
    to.print(_arms(summary))
    for line in words.controls(summary):
        to.print(Text("  " + line), style="dim")
    for line in words.warnings(summary):
        to.print(Text("! " + line), style="yellow")
    for line in summary.get("not_measured", []):
        to.print(Text("- " + line), style="dim")
    to.print(Text(f"Report: {folder / 'report.html'}   Summary: {folder / 'summary.json'}"))


def console() -> Console:
    """The terminal at its own width; a file or a pipe at one that the tables fit in."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=_WIDTH, highlight=False)


def _pair(pair: list[str], condition: str, cells: list[dict[str, Any]]) -> Table:
    where = f" ({condition})" if condition else ""
    table = Table(title=f"{pair[0]} / {pair[1]}: {cells[0]['question']}{where}", title_justify="left")
    table.add_column("metric")
    payloads = sorted({cell["payload_bytes"] for cell in cells})
    for payload in payloads:
        table.add_column(naming.size(payload), justify="right")
    for metric in dict.fromkeys(cell["metric"] for cell in cells):
        by_payload = {cell["payload_bytes"]: cell for cell in cells if cell["metric"] == metric}
        table.add_row(words.METRIC_WORDS[metric], *(_cell(by_payload.get(payload)) for payload in payloads))
    return table


def _cell(cell: dict[str, Any] | None) -> Text:
    if cell is None:
        return Text("not measured", style="dim")
    text = f"{words.times(cell)}\n{words.VERDICT_WORDS[cell['verdict']]}"
    if cell["verdict"] == "undecided" and cell["more_blocks"]:
        text += f", {words.blocks(cell['more_blocks'])}"
    return Text(text, style=_COLOURS[cell["verdict"]])


def _arms(summary: dict[str, Any]) -> Table:
    table = Table(
        title="Arms (pooled over blocks; a percentile without an interval is not given)", title_justify="left"
    )
    processes = list(dict.fromkeys(name for row in summary["arms"] for name in row["cpu_us"] if name not in APPARATUS))
    table.add_column("payload")
    table.add_column("arm")
    for name in ("requests", "p50 ms", "p99 ms", *(f"CPU µs {name}" for name in processes), "bytes", "hop bytes"):
        table.add_column(name, justify="right")
    last = None
    for row in summary["arms"]:
        if last not in {None, row["where"]}:
            table.add_section()
        last = row["where"]
        cpu = row["cpu_us"]
        table.add_row(
            row["where"], row["arm"], str(row["requests"]),
            _percentile(row, "p50"), _percentile(row, "p99"),
            *(_number(cpu.get(name)) for name in processes), _number(row["message_bytes"]), _number(row["wire_bytes"]),
        )  # fmt: skip
    return table


def _percentile(row: dict[str, Any], name: str) -> str:
    found = row["percentiles_ms"].get(name)
    return f"{found[1]:.3g}" if found else "-"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.0f}"
