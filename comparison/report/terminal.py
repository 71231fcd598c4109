"""The run's answer in the terminal: a compact verdict and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from crossover.comparison.analysis.measures import APPARATUS
from crossover.comparison.design import naming
from crossover.comparison.report import words

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH = 118
_GRADES = {words.STOP: "red", words.UNQUOTABLE: "red", words.DOUBT: "yellow", words.NOTE: "dim"}
_COLOURS = {"grpc": "green", "rest": "blue", "equal": "cyan", "undecided": "yellow", "invalid": "red"}


def show(summary: dict[str, Any], folder: Path) -> None:
    """Print verdict, tables, controls, warnings and where the report is."""
    to = console()
    doubts = [Text(f"! {grade}: {text}", style=_GRADES[grade]) for grade, text in words.doubts(summary)]
    to.print(Panel(Group(*doubts, *(Text("• " + line) for line in words.verdict(summary))), title="Verdict"))
    for pair in words.pairs(summary):
        cells = [cell for cell in summary["cells"] if cell["pair"] == pair]
        for condition in naming.conditions_of(cells):
            of_condition = [cell for cell in cells if cell["condition"] == condition]
            print_fitting(to, _pair(pair, condition, of_condition), _pair_lines(of_condition))
    print_fitting(to, _arms(summary), _arm_lines(summary))
    for line in words.controls(summary):
        to.print(Text("  " + line), style="dim")
    for line in summary.get("not_measured", []):
        to.print(Text("- " + line), style="dim")
    to.print(Text(f"Report: {folder / 'report.html'}   Summary: {folder / 'summary.json'}"))


def console() -> Console:
    """The terminal at its own width; a file or a pipe at one that the tables fit in."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(width=_WIDTH, highlight=False)


def print_fitting(to: Console, table: Table, lines: list[str]) -> None:
    """The table where the terminal is wide enough for every number in full; else the same in lines."""
    if to.measure(table).minimum <= to.width and table_width(to, table) <= to.width:
        to.print(table)
        return
    to.print(Text(str(table.title), style="italic"))
    for line in lines:
        to.print(Text("  " + line))


def table_width(to: Console, table: Table) -> int:
    """Columns that the table takes when nothing in it is broken."""
    return to.measure(table, options=to.options.update(width=1000)).maximum


def _pair_lines(cells: list[dict[str, Any]]) -> list[str]:
    return [f"{cell['where']}, {words.METRIC_WORDS[cell['metric']]}: {words.judged(cell)}" for cell in cells]


def _arm_lines(summary: dict[str, Any]) -> list[str]:
    found = []
    for row in summary["arms"]:
        cpu = ", ".join(
            f"CPU of {name} {value:,.0f} µs" for name, value in row["cpu_us"].items() if name not in APPARATUS
        )
        found.append(
            f"{row['where']}, {row['arm']}: {row['requests']} requests, p50 {_percentile(row, 'p50')} ms, "
            f"p99 {_percentile(row, 'p99')} ms{', ' + cpu if cpu else ''}, message bytes {_number(row['message_bytes'])}, "
            f"hop bytes {_number(row['wire_bytes'])}"
        )
    return found


def _pair(pair: list[str], condition: str, cells: list[dict[str, Any]]) -> Table:
    where = f" ({condition})" if condition else ""
    table = Table(title=f"{pair[0]} / {pair[1]}: {cells[0]['question']}{where}", title_justify="left")
    table.add_column("metric")
    ordered = sorted(cells, key=lambda cell: cell["payload_bytes"])
    places = list(dict.fromkeys((cell["payload_bytes"], cell["case"]) for cell in ordered))
    for payload, case in places:
        table.add_column(f"{case} ({naming.size(payload)})" if case else naming.size(payload), justify="right")
    for metric in dict.fromkeys(cell["metric"] for cell in cells):
        at = {(cell["payload_bytes"], cell["case"]): cell for cell in cells if cell["metric"] == metric}
        table.add_row(words.METRIC_WORDS[metric], *(_cell(at.get(place)) for place in places))
    return table


def _cell(cell: dict[str, Any] | None) -> Text:
    if cell is None:
        return Text("not measured", style="dim")
    verdict = "withheld" if cell.get("withheld") else words.VERDICT_WORDS[cell["verdict"]]
    text = f"{words.times(cell)}\n{verdict}"
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
