"""The run's answer as one HTML page: opens offline, fetches nothing, follows light and dark."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossover.comparison.report import words
from crossover.comparison.report.figures import capacity, latency, networks, ratios, resources, stages, validity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from crossover.comparison.analysis.whole import Analysis
    from crossover.comparison.report.figures.style import Picture

Summary = dict[str, Any]
_STYLE = Path(__file__).with_name("page.css")


def html(summary: Summary, analysis: Analysis, provenance: dict[str, Any]) -> str:
    """The whole page."""
    sections = [
        _card(summary),
        _section(
            "How much",
            [ratios.forest(summary), ratios.by_payload(summary)],
            _cells_table(summary),
            "Below 1 gRPC takes less. The shaded band is equality for practice (5 %). Intervals are 95 %, over blocks.",
        ),
        _section(
            "Which network",
            [networks.network_map(summary)],
            _networks_table(summary),
            "Each network is a link of packets between two hosts of this machine, measured before use (docs/method.md).",
        )
        if summary["networks"]
        else "",
        _section(
            "Latency",
            [
                latency.spectrum(analysis.measures, analysis.arms),
                capacity.latency_against_rate(analysis.measures, summary),
            ],
            _arms_table(summary),
        ),
        _section("Why", [stages.waterfall(analysis.samples)], _causes_table(summary), _WHY),
        _section("CPU, bytes and cost", [resources.cpu(summary), resources.byte_split(summary)], _cost_table(summary)),
        _section("May this be believed?", [validity.controls(summary)], _validity(summary) + _gates_table(summary)),
        _section("Start and memory", [], _starts_table(summary), _starts_text(summary)),
        _list("What was not measured", summary.get("not_measured", [])),
        _list("What this run cannot show", words.limits(summary)),
        _provenance(summary, provenance),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<title>gRPC or REST? {escape(summary["created"])}'
        '</title>\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_STYLE.read_text()}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


_WHY = (
    "Each step of the ladder changes one thing; its part of the gap is the difference of two arms, block by block. "
    "The stages come from slices of their own, in which every station stamps the same monotonic clock; they add up to "
    "what the client saw."
)


def _card(summary: Summary) -> str:
    pair = words.headline_pair(summary)
    cells = words.cells_of(summary, pair, "p50") if pair else []
    badges = "".join(
        f'<li><span>{escape(cell["where"])}, p50</span><strong class="{cell["verdict"]}">'
        f"{'withheld' if cell['withheld'] else words.VERDICT_WORDS[cell['verdict']]}</strong><span>{escape(words.times(cell))}</span></li>"
        for cell in cells
    )
    said = "".join(f"<li>{escape(line)}</li>" for line in words.verdict(summary))
    doubts = words.doubts(summary)
    grave = any(grade in {words.STOP, words.UNQUOTABLE} for grade, _ in doubts)
    before = "".join(f"<li><strong>{escape(grade)}:</strong> {escape(text)}</li>" for grade, text in doubts)
    before = f'<ul class="doubts">{before}</ul>' if before else ""
    verdicts = {cell["verdict"] for cell in cells}
    frame = "grave" if grave else verdicts.pop() if len(verdicts) == 1 else "undecided"
    card = f'<section class="card {frame}">{before}<ul class="badges">{badges}</ul><ul>{said}</ul></section>'
    about = f"model {summary['model']}, {summary['blocks']} blocks, {summary['created']}"
    return f'<h1>gRPC or REST between two services?</h1><p class="soft">{escape(about)}</p>{card}'


def _section(title: str, pictures: Iterable[Picture | None], table: str, text: str = "") -> str:
    drawn = "".join(
        f"<figure><figcaption>{escape(picture.title)}</figcaption>{picture.svg()}</figure>"
        for picture in pictures
        if picture
    )
    said = f'<p class="soft">{escape(text)}</p>' if text else ""
    return f"<h2>{escape(title)}</h2>{said}{drawn}{table}" if drawn or table else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> str:
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    if not lines:
        return ""
    names = "".join(f"<th>{escape(name)}</th>" for name in head)
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<details><summary>{escape(title)}</summary><div class="scroll">{table}</div></details>'


def _cells_table(summary: Summary) -> str:
    head = ("pair", "payload", "metric", "ratio (95 % interval)", "verdict", "difference", "p (Holm)", "p (sign flips)",
            "bootstrap", "Hodges-Lehmann", "blocks", "rate")  # fmt: skip
    rows = [
        (
            escape(" / ".join(cell["pair"])),
            escape(cell["where"]),
            escape(cell["metric"]),
            words.times(cell),
            f'<span class="{cell["verdict"]}">{escape(words.judged(cell).split(", ratio")[0])}</span>',
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
            _capacity(row["capacity"]),
        )
        for row in summary["arms"]
    ]
    head = ("payload and arm", "requests", "failed", *(f"{name} ms" for name in names), "capacity, requests/s")
    return _table(head, rows, "Percentiles with intervals (within this run; none is given that has no interval)")


def _networks_table(summary: Summary) -> str:
    rows = [
        (
            escape(found["network"]),
            f"{found['nominal_ms']:g}",
            f"{found['median_ms']:.3g} ({found['p10_ms']:.3g} to {found['p90_ms']:.3g})",
            f"{found['loss']:.1%}",
            escape(found["congestion_control"]),
            "used" if found["usable"] else '<span class="invalid">not used</span>',
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
            f"{found['gap']:+.3g}",
            escape(f"{part['cause']} ({part['step'][0]} less {part['step'][1]})"),
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
    rows = [
        (
            f"{row['where']} {escape(row['arm'])}",
            *(_number(row["cpu_us"].get(name), ",.0f") for name in ("gateway", "model server", "client")),
            _number(row["message_bytes"], ",.0f"),
            _number(row["wire_bytes"], ",.0f"),
            _number(row["cost_per_million"] and row["cost_per_million"]["cpu"], ".4f"),
            _number(row["cost_per_million"] and row["cost_per_million"]["traffic"], ".4f"),
        )
        for row in summary["arms"]
    ]
    head = ("payload and arm", "gateway µs", "model server µs", "client µs", "message bytes", "hop bytes",
            "CPU cost per million", "traffic cost per million")  # fmt: skip
    return _table(head, rows, "CPU, bytes and cost of each arm")


def _gates_table(summary: Summary) -> str:
    rows = [
        (
            f"{gate['where']} {escape(gate['arm'])}",
            escape(gate["gate"]),
            f"{gate['value']:.3g}",
            f"{gate['limit']:.3g} {escape(gate['unit'])}",
            "passed" if gate["passed"] else '<span class="invalid">not passed</span>',
        )
        for gate in summary["gates"]
    ]
    return _table(("payload and arm", "gate", "value", "limit", ""), rows, "Every gate of every arm")


def _validity(summary: Summary) -> str:
    noise = summary["noise"]
    failed = sum(not gate["passed"] for gate in summary["gates"])
    said = (
        *words.controls(summary),
        f"{len(summary['gates']) - failed} of {len(summary['gates'])} gates passed.",
        (
            f"Of {noise['slices']} slices {noise['rerun']} were noisy and were run again; largest steal "
            f"{noise['steal_max']:.1%}; other programs used {noise['others_median']:.1%} of the machine in the median slice."
        ),
    )
    return f"<ul>{_items(said)}</ul>"


def _starts_text(summary: Summary) -> str:
    found = summary["starts"]
    memory = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in found["peak_memory_bytes"].items())
    cold = "not measured" if found["cold_start_s"] is None else f"{found['cold_start_s']:.2f} s until ready (median)"
    return f"Cold start of both services: {cold}. Peak memory with all arms in one process: {memory or 'not measured'}."


def _starts_table(summary: Summary) -> str:
    rows = [(escape(name), f"{value:.3g}") for name, value in summary["starts"]["first_request_ms"].items()]
    return _table(("arm", "first request, ms (median)"), rows, "First request of each arm on fresh services")


def _list(title: str, lines: Sequence[str]) -> str:
    return f"<h2>{escape(title)}</h2><ul>{_items(lines)}</ul>" if lines else ""


def _items(lines: Iterable[str]) -> str:
    return "".join(f"<li>{escape(line)}</li>" for line in lines)


def _provenance(summary: Summary, provenance: dict[str, Any]) -> str:
    shown = json.dumps({**provenance, "samples_sha256": summary["samples_sha256"]}, indent=1)
    command = escape(words.again(summary))
    return (
        f"<h2>Where this comes from</h2><p>Run it again with</p><pre>{command}</pre>"
        f"<details><summary>Machine, versions, settings, hash of the raw samples</summary><pre>{escape(shown)}</pre></details>"
    )


def _interval(found: Sequence[float] | None) -> str:
    return f"{found[1]:.3g} ({found[0]:.3g} to {found[2]:.3g})" if found else "-"


def _range(found: Sequence[float] | None) -> str:
    return f"{found[0]:.3f} to {found[1]:.3f}" if found else "-"


def _number(value: float | None, form: str) -> str:
    return "not measured" if value is None else format(value, form)
