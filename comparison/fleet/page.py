"""The fleet view's report: one page, without scripts."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from crossover.comparison.fleet.situation import BALANCERS, EVENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = (
    ("largest", "largest share", 2),
    ("jain", "Jain's index", 2),
    ("p50_ms", "p50 ms", 1),
    ("p99_ms", "p99 ms", 1),
    ("per_second", "calls/s", 0),
    ("client_cpu_us", "client CPU us/call", 0),
    ("balancer_cpu_us", "balancer CPU us/call", 0),
)
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .875rem }
th, td { padding: .25rem .6rem; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent) }
th { text-align: left } td.n { text-align: right } small { opacity: .75 } td meter { width: 5rem }
.scroll { overflow-x: auto }
"""


def html(document: dict[str, Any], rows: Sequence[dict[str, Any]], answers: Sequence[tuple[str, str]]) -> str:
    """The whole page."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>Crossover: fleet</title><style>{STYLE}</style>",
        f"<h1>{document['replicas']} replicas, {document['callers']} callers, {document['blocks']} blocks</h1>",
        f"<p><code>{escape(document['command'])}</code></p>",
    ]
    parts += [f"<p>{escape(note)}</p>" for note in document["notes"]]
    parts += [f"<h2>{escape(question)}</h2><p>{escape(answer)}</p>" for question, answer in answers]
    for event, what in EVENTS.items():
        found = [row for row in rows if row["event"] == event]
        if found:
            parts.append(f"<h2>{escape(event)}: {escape(what)}</h2>{_table(event, found)}")
    used = {row["balancer"] for row in rows}
    parts.append("<h2>Balancers</h2><dl>")
    parts += [f"<dt>{name}</dt><dd>{escape(what)}</dd>" for name, what in BALANCERS.items() if name in used]
    parts.append(
        "</dl><p>Figures are medians over the blocks, each a fresh start of all services; their range stands below. All callers "
        "share one client: one connection for gRPC, a pool for REST. Shares are counted by the replicas themselves.</p></html>"
    )
    return "".join(parts)


def _table(event: str, rows: Sequence[dict[str, Any]]) -> str:
    names = [title for _, title, _ in COLUMNS] + ["failed calls"] + (["seconds to its share"] * (event == "scale-up"))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ("arm", "balancer", *names))
    body = "".join(_row(event, row) for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(event: str, row: dict[str, Any]) -> str:
    cells = [f'<th scope="row">{escape(row["arm"])}</th><td>{escape(row["balancer"])}</td>']
    for name, _, digits in COLUMNS:
        shown = cell(row[name], digits)
        meter = f'<meter value="{row[name]["median"]:.3f}"></meter> ' if name == "largest" and row[name] else ""
        cells.append(f'<td class="n">{meter}{shown}</td>')
    cells.append(f'<td class="n">{escape(failures(row))}</td>')
    if event == "scale-up":
        cells.append(f'<td class="n">{escape(joined(row))}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def cell(value: dict[str, float] | None, digits: int) -> str:
    """The median, and the blocks' range below it."""
    if value is None:
        return "-"
    median, least, most = (f"{value[name]:.{digits}f}" for name in ("median", "least", "most"))
    return f"{median}<br><small>{least} to {most}</small>"


def failures(row: dict[str, Any]) -> str:
    """How many of how many, by kind."""
    if not row["failed"]:
        return f"0 of {row['calls']}"
    kinds = ", ".join(f"{count} {code}" for code, count in row["failed"].items())
    return f"{kinds} of {row['calls']}"


def joined(row: dict[str, Any]) -> str:
    """Seconds until the new replica had its share."""
    never = f"never in {row['never_joined']} of {row['blocks']} blocks" if row["never_joined"] else ""
    when = f"{row['joined_s']['median']:.1f}" if row["joined_s"] else ""
    return "; ".join(filter(None, (when, never)))
