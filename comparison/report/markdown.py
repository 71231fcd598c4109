"""The run's answer in Markdown, for a pull request: doubts first, then the answer and a table of every judged cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.comparison.report import words

if TYPE_CHECKING:
    from pathlib import Path

_METRICS = ("p50", "first_message", "per_message", "cpu", "client_cpu", "wire_bytes", "capacity")


def write(summary: dict[str, Any], path: Path) -> None:
    path.write_text(text(summary))


def text(summary: dict[str, Any]) -> str:
    """The whole document."""
    doubts = [f"> **{grade}:** {said}" for grade, said in words.doubts(summary)]
    answers = [f"- {said}" for said in words.answers(summary)] or ["- No pair was measured, so there is no verdict."]
    parts = ["### gRPC or REST?", "\n>\n".join(doubts), "\n".join(answers), _table(summary), _foot(summary)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(summary: dict[str, Any]) -> str:
    rows = [
        f"| {_cell(' / '.join(cell['pair']))} | {_cell(cell['where'])} | {words.METRIC_WORDS[cell['metric']]} "
        f"| {words.times(cell)} | {_verdict(cell)} |"
        for cell in summary["cells"]
        if cell["metric"] in _METRICS
    ]
    if not rows:
        return ""
    head = "| pair | at | metric | gRPC / REST (95 % interval) | verdict |\n| --- | --- | --- | ---: | --- |"
    return "\n".join([head, *rows])


def _verdict(cell: dict[str, Any]) -> str:
    if cell["withheld"]:
        return "withheld"
    more = f" (about {words.blocks(cell['more_blocks'])} would decide)" if cell["more_blocks"] else ""
    return words.VERDICT_WORDS[cell["verdict"]] + more


def _foot(summary: dict[str, Any]) -> str:
    return f"{summary['blocks']} blocks, {summary['created']}; run it again with\n\n    {words.again(summary)}"


def _cell(said: str) -> str:
    """Text of a table's cell: a bar or a line's end would end it."""
    return " ".join(said.split()).replace("|", "\\|")
