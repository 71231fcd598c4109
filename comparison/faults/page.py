"""The report of `faults`: one page, without scripts."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from crossover.comparison.faults.calls import CALL_SECONDS
from crossover.comparison.faults.events import EVENTS
from crossover.comparison.fleet.page import STYLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COLUMNS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("failed_share", "failed %", lambda value: f"{100 * value:.2f}"),
    ("wrong_share", "wrong %", lambda value: f"{100 * value:.2f}"),
    ("recovered_s", "recovered after s", lambda value: f"{value:.2f}"),
    ("goodput", "goodput %", lambda value: f"{100 * value:.1f}"),
    ("p99_ms", "p99 ms", lambda value: f"{value:.1f}"),
)


def html(whole: dict[str, Any]) -> str:
    """The whole page from the summary."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>Crossover: faults</title><style>{STYLE}</style>",
        f"<h1>Which wire loses less? {whole['blocks_done']} blocks, {whole['seconds']:g} s from each fault</h1>",
        f"<p><code>{escape(whole['command'])}</code></p>",
    ]
    parts += [f"<p>{escape(note)}</p>" for note in whole["notes"]]
    parts += [f"<p>{escape(sentence(each))}</p>" for each in whole["judgements"]]
    for event, what in EVENTS.items():
        found = [row for row in whole["rows"] if row["event"] == event]
        if found:
            parts.append(f"<h2>{escape(event)}: {escape(what.says)}</h2>{_table(found)}")
    parts.append(
        f"<p>Calls leave when they are due, each with a deadline of {CALL_SECONDS:g} s and values of its own; a call that is not "
        "answered right by then failed, one with another call's values is wrong. All calls of an arm share one client: one "
        "connection for gRPC, a pool for REST. Recovered: from the end of the cause to the first right answer. Goodput: right "
        "answers of those that could be given (all calls; in overload the capacity). Means with 95 % intervals over blocks, each a "
        "fresh start of the service.</p></html>"
    )
    return "".join(parts)


def sentence(each: dict[str, Any]) -> str:
    """One judgement in words."""
    low, mean, high = each["more_failed"]
    first, second = each["pair"]
    reach = "" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    result = {
        "gRPC": f"{first} loses less", "REST": f"{second} loses less", "equal": "no difference that matters",
        "undecided": "undecided",
    }[each["verdict"]]  # fmt: skip
    why = f", {each['withheld']}" if each["withheld"] else ""
    return f"{each['event']}: {result}; {first} failed {100 * mean:+.1f}{reach} points more than {second}{why}"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    names = ("arm", *(title for _, title, _ in COLUMNS), "failed calls")
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(map(_row, rows))}</tbody></table></div>'


def _row(row: dict[str, Any]) -> str:
    cells = [f'<th scope="row">{escape(row["arm"])}</th>']
    for name, _, written in COLUMNS:
        mean, reach = cell(row, name, written)
        cells.append(f'<td class="n">{escape(mean)}<br><small>{escape(reach)}</small></td>')
    cells.append(f'<td class="n">{escape(failures(row))}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def cell(row: dict[str, Any], name: str, written: Callable[[float], str]) -> tuple[str, str]:
    """The mean, and its interval; what never came is said."""
    low, mean, high = row[name]
    never = f"never in {row['never']} of {row['blocks']}" if name == "recovered_s" and row["never"] else ""
    reach = "" if low is None else f"{written(low)} to {written(high)}"
    return "-" if mean is None else written(mean), "; ".join(filter(None, (reach, never)))


def failures(row: dict[str, Any]) -> str:
    """How many of how many, by kind."""
    kinds = ", ".join(f"{count} {code}" for code, count in sorted(row["failed"].items())) or "0"
    return f"{kinds} of {row['calls']}" + (f"; {row['withheld']}" if row["withheld"] else "")
