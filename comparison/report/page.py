"""The run's answer as one HTML page, in English and Korean: opens offline, fetches nothing, follows light and dark."""

from __future__ import annotations

import json
import math
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison.analysis import gates
from crossover.comparison.analysis.measures import APPARATUS
from crossover.comparison.analysis.statistics import EQUIVALENCE
from crossover.comparison.design import naming
from crossover.comparison.network.profiles import LOOPBACK
from crossover.comparison.report import beside, words
from crossover.comparison.report.figures import capacity, latency, networks, ratios, resources, stages, style, validity
from crossover.comparison.report.korean import said

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from crossover.comparison.analysis.whole import Analysis
    from crossover.comparison.report.figures.style import Picture

Summary = dict[str, Any]
_STYLE = Path(__file__).with_name("page.css")


def html(summary: Summary, analysis: Analysis, provenance: dict[str, Any]) -> str:
    """The whole page, in English and Korean; a reader switches between them without a script."""
    wide = _sections(summary, analysis)
    with style.narrow():
        narrow = _sections(summary, analysis)
    parts = [
        _answer(summary),
        _list("In detail", words.verdict(summary)[1:]),
        *(_section(title, list(zip(pictures, narrow[i][1], strict=True)), table, text)
          for i, (title, pictures, table, text) in enumerate(wide)),
        _published(summary.get("published", ())),
        _list("What was not measured", summary.get("not_measured", [])),
        _list("What this run cannot show", words.limits(summary)),
        _provenance(summary, provenance),
    ]  # fmt: skip
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<title>gRPC or REST? '
        f"{escape(summary['model'])}, {escape(summary['created'])}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_STYLE.read_text()}{style.css()}</style></head>\n<body>\n{_TOP}<main>\n{body}\n</main>\n</body></html>\n"
    )


def _sections(summary: Summary, analysis: Analysis) -> list[tuple[str, list[Picture | None], str, str]]:
    """Each section's title, pictures, table and text."""
    found = [
        ("How much", [ratios.forest(summary), ratios.by_payload(summary)], _cells_table(summary), _HOW_MUCH),
        ("Latency", [latency.spectrum(analysis.measures, analysis.arms), latency.two_modes(analysis.measures, summary["arms"]),
                     capacity.latency_against_rate(analysis.measures, summary)],
         _arms_table(summary), ""),
        ("Why", [stages.waterfall(analysis.samples)], _causes_table(summary), _why(summary)),
        ("CPU, bytes and cost", [resources.cpu(summary), resources.byte_split(summary)], _cost_table(summary), ""),
        ("May this be believed?", [validity.controls(summary)], _validity(summary) + _gates_table(summary), ""),
        ("Start and memory", [], _starts_table(summary), _starts_text(summary)),
    ]  # fmt: skip
    if summary["networks"]:
        found.insert(1, ("Which network", [networks.network_map(summary)], _networks_table(summary), _NETWORKS))
    return found


_TOP = """<header class="top"><span class="brand">Crossover</span>
<span class="languages" role="radiogroup" aria-label="Language"><input type="radio" name="language" id="en" checked><label
for="en" lang="en">English</label><input type="radio" name="language" id="ko"><label for="ko" lang="ko"
class="always">한국어</label></span></header>
"""
_HOW_MUCH = "Below 1 gRPC takes less. The shaded band is equality for practice (5 %). Intervals are 95 %, over blocks."
_NETWORKS = "Each network is a link of packets between two hosts of this machine, measured before use (docs/method.md)."
_WHY = "Each step of the ladder changes one thing; its part of the gap is the difference of two arms, block by block."
_STAGES = (
    "The stages come from slices of their own, in which every station stamps the same monotonic clock; they add up to "
    "what the client saw."
)


def _why(summary: Summary) -> str:
    """What the parts are; a foreign pair has no stages."""
    return _WHY if summary["services"] == "pair" else f"{_WHY} {_STAGES}"


def both(text: str) -> str:
    """A sentence or a name in both languages, escaped; once, where there is nothing to translate."""
    korean = said(text)
    if korean == text:
        return escape(text)
    return f'<span lang="en">{escape(text)}</span><span lang="ko">{escape(korean)}</span>'


MOST_RATIOS = 9
"""So many ratios stand on the first screen; the figures below have all."""
_LEFT, _RIGHT = math.log(0.1), math.log(10)


def _answer(summary: Summary) -> str:
    """The first screen: the sentence, the ratios that it rests on, and what speaks against believing them."""
    answers = words.answers(summary) or words.verdict(summary)[:1]
    model = "" if summary["services"] == "pair" else "model "
    about = (
        f"{model}{summary['model']}, {summary['blocks']} block{'s' * (summary['blocks'] != 1)}, {summary['created']}"
    )
    doubts = words.doubts(summary)
    return (
        f'<section class="answer"><h1>{both("gRPC or REST between two services?")}</h1><p class="soft">{both(about)}</p>'
        f'<p class="sentence">{both(answers[0])}</p>{_doubts([each for each in doubts if each[0] in _GRAVE])}{_ratios(summary)}'
        f"{_doubts([each for each in doubts if each[0] not in _GRAVE])}</section>"
    )


def _doubts(doubts: list[tuple[str, str]]) -> str:
    """What forbids a verdict stands above the ratios, the rest below them."""
    items = "".join(
        f'<li class="{"grave" if grade in _GRAVE else "doubt"}"><strong>{both(grade)}:</strong> {both(text)}</li>'
        for grade, text in doubts
    )
    return f'<ul class="doubts">{items}</ul>' if items else ""


_GRAVE = frozenset({words.STOP, words.UNQUOTABLE})


def _ratios(summary: Summary) -> str:
    """A row for each ratio of median latencies, with its interval on one logarithmic scale for all."""
    cells = [cell for pair in words.pairs(summary) for cell in words.cells_of(summary, pair, "p50")]
    cells = [cell for cell in cells if cell["ratio"] is not None][:MOST_RATIOS]
    if not cells:
        return ""
    rows = "".join(
        f'<li class="{cell["verdict"]}"><span class="pair">{escape(" / ".join(cell["pair"]))}</span>'
        f'<span class="where">{both(cell["where"])}</span><span class="track" aria-hidden="true">{_marks(cell)}</span>'
        f'<span class="figure">{both(words.times(cell))}</span>'
        f"<strong>{both('withheld' if cell['withheld'] else words.VERDICT_WORDS[cell['verdict']])}</strong></li>"
        for cell in cells
    )
    ticks = "".join(f'<span style="left: {_place(tick):.2f}%">{tick:g}</span>' for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10))
    return (
        f'<ol class="ratios">{rows}</ol><p class="scale" aria-hidden="true">{ticks}</p>'
        f'<p class="soft">{both("ratio gRPC / REST; left of 1 gRPC takes less")}</p>'
    )


def _marks(cell: dict[str, Any]) -> str:
    low, high = cell["ci"] or (cell["ratio"], cell["ratio"])
    band = f'<i class="band" style="left: {_place(1 / EQUIVALENCE):.2f}%; right: {100 - _place(EQUIVALENCE):.2f}%"></i>'
    return (
        f'{band}<i class="one" style="left: {_place(1):.2f}%"></i>'
        f'<i class="interval" style="left: {_place(low):.2f}%; right: {100 - _place(high):.2f}%"></i>'
        f'<i class="dot" style="left: {_place(cell["ratio"]):.2f}%"></i>'
    )


def _place(ratio: float) -> float:
    """Where a ratio stands on the scale, in percent of its length."""
    return 100 * (min(max(math.log(ratio), _LEFT), _RIGHT) - _LEFT) / (_RIGHT - _LEFT)


def _section(title: str, pictures: Iterable[tuple[Picture | None, Picture | None]], table: str, text: str = "") -> str:
    drawn = "".join(
        f'<figure><figcaption>{both(wide.title)}</figcaption><div class="wide">{wide.svg()}</div>'
        f'<div class="narrow">{narrow.svg("-narrow")}</div></figure>'
        for wide, narrow in pictures
        if wide and narrow
    )
    text = f'<p class="soft">{both(text)}</p>' if text else ""
    return f"<h2>{both(title)}</h2>{text}{drawn}{table}" if drawn or table else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> str:
    lines = ["<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    if not lines:
        return ""
    names = "".join(f"<th>{both(name)}</th>" for name in head)
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    name = re.sub(r"\W+", "-", title.lower()).strip("-")
    scrolled = f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}">{table}</div>'
    return f'<details><summary id="{name}">{both(title)}</summary>{scrolled}</details>'


def _cell(html: str) -> str:
    """A table's cell, which is HTML already, in both languages where it is plain words."""
    return both(html) if re.fullmatch(r"[A-Za-z ,]+", html) else html


def _published(found: Sequence[dict[str, Any]]) -> str:
    """Where this run differs from those that findings rest on; nothing where there are none with cells in common."""
    rows = [
        (
            escape(run["row"]),
            escape(" / ".join(cell["pair"])),
            escape(
                naming.size(cell["payload_bytes"]) + ("" if cell["network"] == LOOPBACK else f", {cell['network']}")
            ),
            both(words.METRIC_WORDS[cell["metric"]]),
            f"{cell['here']:.2f}",
            f"{cell['there']:.2f}",
            both(what),
        )
        for run in found
        for what, cells in (("another side ahead", run["sign"]), ("same side, another size", run["size"]))
        for cell in cells
    ]
    head = ("published run", "pair", "payload", "metric", "ratio here", "ratio there", "difference")
    table = _table(head, rows, "Every ratio that differs from a published run")
    return _list("Beside the published runs", [beside.counted(run) for run in found]) + table


def _cells_table(summary: Summary) -> str:
    head = ("pair", "payload", "metric", "ratio (95 % interval)", "verdict", "difference", "p (Holm)", "p (sign flips)",
            "bootstrap", "Hodges-Lehmann", "blocks", "rate")  # fmt: skip
    rows = [
        (
            escape(" / ".join(cell["pair"])),
            escape(cell["where"]),
            escape(cell["metric"]),
            words.times(cell),
            f'<span class="{cell["verdict"]}">{both(words.judged(cell).split(", ratio")[0])}</span>',
            _interval(cell["difference"]) + f" {escape(cell['unit'].split()[0])}",
            f"{cell['holm_p']:.3g}",
            f"{cell['sign_flip_p']:.3g}",
            _range(cell["bootstrap_ci"]),
            _number(cell["hodges_lehmann"], ".3f"),
            str(cell["blocks"]),
            "closed loop" if cell["rate"] is None else f"{cell['rate']:g}/s",
        )
        for cell in summary["cells"]
    ]
    return _table(head, rows, "Every cell with its statistics")


def _arms_table(summary: Summary) -> str:
    names = list(dict.fromkeys(name for row in summary["arms"] for name in row["percentiles_ms"]))
    rows = [
        (
            f"{row['where']} {escape(row['arm'])}",
            str(row["requests"]),
            str(row["requests"] - row["answered"]),
            *(_interval(row["percentiles_ms"].get(name)) for name in names),
            "; ".join(f"{words.plain(mode['median_ms'])} ({mode['share']:.0%})" for mode in row["modes"] or ()),
            _capacity(row["capacity"]),
        )
        for row in summary["arms"]
    ]
    head = (
        "payload and arm",
        "requests",
        "failed",
        *(f"{name} ms" for name in names),
        "two modes, ms",
        "capacity, requests/s",
    )
    return _table(head, rows, "Percentiles with intervals (within this run; none is given that has no interval)")


def _networks_table(summary: Summary) -> str:
    rows = [
        (
            escape(found["network"]),
            f"{found['nominal_ms']:g}",
            f"{words.plain(found['median_ms'])} ({words.plain(found['p10_ms'])} to {words.plain(found['p90_ms'])})",
            f"{found['loss']:.1%}",
            escape(found["congestion_control"]),
            "used" if found["usable"] else f'<span class="invalid">{both("not used")}</span>',
        )
        for found in summary["networks"]
    ]
    head = (
        "network",
        "nominal round trip, ms",
        "measured median (p10 to p90)",
        "loss each way",
        "congestion control",
        "",
    )
    return _table(head, rows, "Calibration of the networks")


def _capacity(found: dict[str, float] | None) -> str:
    return f"{found['low']:,.0f} to {found['high']:,.0f} at {found['goal_ms']:g} ms" if found else "not measured"


def _causes_table(summary: Summary) -> str:
    rows = [
        (
            escape(" less ".join(found["pair"])),
            escape(found["where"]),
            escape(found["metric"]),
            words.plain(found["gap"], "+"),
            both(part["cause"]) + escape(f" ({part['step'][0]} − {part['step'][1]})"),
            _interval(part["amount"]),
            f"{part['amount'][1] / found['gap']:.0%}" if found["gap"] else "",
            escape(found["unit"]),
        )
        for found in summary["causes"]
        for part in found["parts"]
    ]
    head = ("gap", "payload", "metric", "whole", "cause", "part (95 % interval)", "share", "unit")
    return _table(head, rows, "The parts of each gap")


def _cost_table(summary: Summary) -> str:
    processes = list(dict.fromkeys(name for row in summary["arms"] for name in row["cpu_us"] if name not in APPARATUS))
    rows = [
        (
            f"{row['where']} {escape(row['arm'])}",
            *(_number(row["cpu_us"].get(name), ",.0f") for name in processes),
            _number(row["message_bytes"], ",.0f"),
            _number(row["wire_bytes"], ",.0f"),
            *(_price(row["cost_per_million"], part) for part in ("cpu", "traffic")),
        )
        for row in summary["arms"]
    ]
    head = ("payload and arm", *(f"{name} µs" for name in processes), "message bytes", "hop bytes",
            "CPU cost per million", "traffic cost per million")  # fmt: skip
    return _table(head, rows, "CPU, bytes and cost of each arm")


def _gates_table(summary: Summary) -> str:
    rows = [
        (
            f"{gate['where']} {escape(gate['arm'])}",
            both(gate["gate"]),
            both(gates.amount([gate["value"]], gate["unit"])),
            gates.limit([gate["limit"]], gate["unit"]),
            "passed" if gate["passed"] else f'<span class="invalid">{both("not passed")}</span>',
        )
        for gate in summary["gates"]
    ]
    return _table(("payload and arm", "gate", "value", "limit", ""), rows, "Every gate of every arm")


def _validity(summary: Summary) -> str:
    noise = summary["noise"]
    failed = sum(not gate["passed"] for gate in summary["gates"])
    lines = (
        *words.controls(summary),
        f"{len(summary['gates']) - failed} of {len(summary['gates'])} gates passed.",
        (
            f"Of {noise['slices']} slices {noise['rerun']} were noisy and were run again; largest steal "
            f"{noise['steal_max']:.1%}; other programs used {noise['others_median']:.1%} of the machine in the median slice."
        ),
    )
    return f"<ul>{_items(lines)}</ul>"


def _starts_text(summary: Summary) -> str:
    found = summary["starts"]
    memory = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in found["peak_memory_bytes"].items())
    cold = "not measured" if found["cold_start_s"] is None else f"{found['cold_start_s']:.2f} s until ready (median)"
    return f"Cold start of both services: {cold}. Peak memory with all arms in one process: {memory or 'not measured'}."


def _starts_table(summary: Summary) -> str:
    rows = [(escape(name), words.plain(value)) for name, value in summary["starts"]["first_request_ms"].items()]
    return _table(("arm", "first request, ms (median)"), rows, "First request of each arm on fresh services")


def _list(title: str, lines: Sequence[str]) -> str:
    return f"<h2>{both(title)}</h2><ul>{_items(lines)}</ul>" if lines else ""


def _items(lines: Iterable[str]) -> str:
    return "".join(f"<li>{both(line)}</li>" for line in lines)


def _provenance(summary: Summary, provenance: dict[str, Any]) -> str:
    shown = json.dumps({**provenance, "samples_sha256": summary["samples_sha256"]}, indent=1)
    command = escape(words.again(summary))
    return (
        f"<h2>{both('Where this comes from')}</h2><p>{both('Run it again with')}</p><pre tabindex='0'>{command}</pre>"
        f"<details><summary>{both('Machine, versions, settings, hash of the raw samples')}</summary>"
        f"<pre tabindex='0'>{escape(shown)}</pre></details>"
    )


def _interval(found: Sequence[float] | None) -> str:
    return f"{words.plain(found[1])} ({words.plain(found[0])} to {words.plain(found[2])})" if found else "-"


def _range(found: Sequence[float] | None) -> str:
    return f"{found[0]:.3f} to {found[1]:.3f}" if found else "-"


def _price(cost: dict[str, Any] | None, part: str) -> str:
    if cost is None:
        return _number(None, "")
    return f"{_number(cost[part], '.4f')} {escape(cost.get('currency', ''))}".rstrip()


def _number(value: float | None, form: str) -> str:
    return "not measured" if value is None else format(value, form)
