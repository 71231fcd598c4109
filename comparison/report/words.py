"""The verdict in sentences: what the run shows, how surely, why, and what it cannot show; from the summary alone."""

from __future__ import annotations

import itertools
import math
import shlex
from typing import TYPE_CHECKING, Any

from crossover.comparison.analysis.expected import AIM
from crossover.comparison.analysis.gates import amount, limit
from crossover.comparison.design import naming
from crossover.comparison.design.arms import CONTROLS
from crossover.comparison.network.profiles import LOOPBACK

if TYPE_CHECKING:
    pass


Summary = dict[str, Any]
Cell = dict[str, Any]

plain = naming.plain
METRIC_WORDS = {
    "alone": "the median latency of calls one at a time",
    "alone_cpu": "CPU per request of calls one at a time",
    "p50": "median latency",
    "p90": "90th percentile of latency",
    "p99": "99th percentile of latency",
    "first_message": "median time to a stream's first message",
    "per_message": "median time from one message of a stream to the next",
    "cpu": "CPU per request",
    "client_cpu": "the client's CPU for encoding and decoding",
    "wire_bytes": "bytes over the hop",
    "message_bytes": "encoded message bytes",
    "capacity": "capacity at the latency goal (more is better)",
}
_VIEWS = {
    "end-to-end": "through the gateway (CPU is that of gateway and model server)",
    "hop": "from client to model server (CPU is that of client and model server)",
    "pair": "from one load generator straight to each service (CPU is that of the services, where their processes are known)",
}
_SIDES = frozenset({"grpc", "rest"})
VERDICT_WORDS = {
    "grpc": "gRPC better",
    "rest": "REST better",
    "equal": "equal for practice",
    "undecided": "undecided",
    "invalid": "invalid",
}


def times(cell: Cell) -> str:
    """The ratio with its interval: "1.12 (1.08 to 1.16)"."""
    if cell["ratio"] is None:
        return "no number"
    if cell["ci"] is None:
        return f"{cell['ratio']:.2f} (no interval)"
    low, high = cell["ci"]
    if math.isclose(low, high, rel_tol=1e-6):
        return f"{cell['ratio']:.2f} (does not vary)"
    return f"{cell['ratio']:.2f} ({low:.2f} to {high:.2f})"


def judged(cell: Cell) -> str:
    """The verdict with its number."""
    text = VERDICT_WORDS[cell["verdict"]]
    if cell.get("withheld"):
        return f"no verdict, {times(cell)} is {cell['reason']}"
    if cell["verdict"] == "undecided":
        more = cell["more_blocks"]
        return f"{text} at {times(cell)}" + (f", about {blocks(more)} would decide" if more else "")
    if cell["verdict"] == "invalid":
        return f"{text} ({cell['reason']})"
    return f"{text}, ratio {times(cell)}"


def blocks(more: int) -> str:
    return f"{more} more block{'s' * (more > 1)}"


def sentence(text: str) -> str:
    """The text with a capital at its beginning and otherwise as it is."""
    return text[:1].upper() + text[1:]


def headline_pair(summary: Summary) -> list[str] | None:
    """The first declared pair that was measured."""
    return summary["cells"][0]["pair"] if summary["cells"] else None


def cells_of(summary: Summary, pair: list[str], metric: str) -> list[Cell]:
    """A pair's cells by one metric, condition by condition and in ascending payload."""
    chosen = [cell for cell in summary["cells"] if cell["pair"] == pair and cell["metric"] == metric]
    order = {condition: place for place, condition in enumerate(naming.conditions_of(chosen))}
    return sorted(chosen, key=lambda cell: (order[cell["condition"]], cell["payload_bytes"]))


def pairs(summary: Summary) -> list[list[str]]:
    """The pairs in the order in which they were declared."""
    found: list[list[str]] = []
    for cell in summary["cells"]:
        if cell["pair"] not in found:
            found.append(cell["pair"])
    return found


def headline(summary: Summary) -> dict[str, Any]:
    """What a list of runs shows of this one: `subject` (model or method), `pair`, `payloads` in bytes and its cells of p50."""
    pair = headline_pair(summary)
    cells = cells_of(summary, pair, "p50") if pair else []
    return {
        "created": summary["created"],
        "subject": summary["model"],
        "complete": summary.get("complete", True),
        "pair": pair,
        "payloads": sorted({cell["payload_bytes"] for cell in cells}),
        "cells": [
            {
                "where": cell["where"],
                "ratio": cell["ratio"],
                "interval": cell["ci"],
                "verdict": "withheld" if cell.get("withheld") else cell["verdict"],
            }
            for cell in cells
        ],
    }


MOST_ANSWERS = 3
"""So many pairs are told in the first lines; the tables have all."""


def verdict(summary: Summary) -> list[str]:
    """The sentences of the verdict card: the answers, then what stands behind them."""
    pair = headline_pair(summary)
    if pair is None:
        return ["No pair of a gRPC arm and a REST arm was measured, so there is no verdict."]
    said = answers(summary)
    said += [_about(summary, pair)]
    said += [
        _metric_sentence(metric, condition, [cell for cell in found if cell["condition"] == condition])
        for metric in ("first_message", "per_message", "cpu", "client_cpu", "capacity")
        for found in (cells_of(summary, pair, metric),)
        for condition in naming.conditions_of(found)
    ]
    said += [
        _flip(found)
        for found in summary["crossovers"]
        if found["pair"] == pair or any(crossing["interval"] for crossing in found["crossings"])
    ]
    return [*said, *_causes(summary), *_model_time(summary, pair)]


def answers(summary: Summary) -> list[str]:
    """The answer in plain words, a sentence for each of the first pairs: ratio, interval, ms, requests per second."""
    return [_answer(cells) for pair in pairs(summary)[:MOST_ANSWERS] if (cells := cells_of(summary, pair, "p50"))]


def _answer(cells: list[Cell]) -> str:
    first, *others = cells
    told = [_answer_at(first, whole=True), *(_answer_at(cell, whole=False) for cell in others)]
    return f"{sentence(first['lead'])}: {'; '.join(told)}."


def _answer_at(cell: Cell, *, whole: bool) -> str:
    """One cell's part of the answer; the first one says it in full."""
    where = f"at {cell['where']}, {_load(cell)}"
    if cell["verdict"] == "invalid":
        return f"no number {where} ({cell['reason']})"
    if cell["ratio"] is None or cell["medians"] is None:
        return f"no number {where}"
    takes = f"gRPC takes {times(cell)} of REST's median" if whole else f"{times(cell)}"
    grpc, rest = cell["medians"]
    numbers = f"{takes}, {plain(grpc)} against {plain(rest)} ms {where}"
    if cell.get("withheld"):
        return f"no verdict {where}, since {cell['withheld']}; measured was {times(cell)}, {plain(grpc)} against {plain(rest)} ms"
    if cell["verdict"] == "equal":
        return f"{numbers}: equal for practice"
    if cell["verdict"] == "undecided":
        more = cell["more_blocks"]
        return f"{numbers}: undecided" + (f" (about {blocks(more)} would decide)" if more else "")
    return numbers


def _load(cell: Cell) -> str:
    if cell["rate"] is None:
        return f"closed loop with {cell['concurrency']} connection{'s' * (cell['concurrency'] > 1)}"
    return f"{plain(cell['rate'])} requests/s"


def _about(summary: Summary, pair: list[str]) -> str:
    cell = next(cell for cell in summary["cells"] if cell["pair"] == pair)
    how = _VIEWS[cell["view"]]
    if summary["services"] == "pair":
        connections = f", {cell['concurrency']} connection{'s' * (cell['concurrency'] > 1)} of each side"
        how += connections
    networks = list(dict.fromkeys(cell["network"] for cell in summary["cells"]))
    over = f"network{'s' * (len(networks) > 1)}: {', '.join(networks)}" + (", TLS" if cell["tls"] else "")
    return f"{sentence(cell['question'])} ({pair[0]} against {pair[1]}), {how}, {over}{_asked(summary)}."


def _asked(summary: Summary) -> str:
    """What the lab's own models were asked for beside the size of the request."""
    reply, work = summary.get("reply_bytes"), summary.get("work")
    return (f", replies of {naming.size(reply)}" if reply else "") + (
        f", {work} turns of work in the model" if work else ""
    )


def _metric_sentence(metric: str, condition: str, found: list[Cell]) -> str:
    told = "; ".join(f"{naming.size(cell['payload_bytes'])}: {judged(cell)}" for cell in found)
    where = f" ({condition})" if condition else ""
    return f"{sentence(METRIC_WORDS[metric])}{where}, gRPC over REST with 95 % interval: {told}."


def _flip(found: dict[str, Any]) -> str:
    what = METRIC_WORDS[found["metric"]] + (f" ({found['condition']})" if found["condition"] else "")
    said = naming.OVER[found["over"]]
    low, high = said(found["values"][0]), said(found["values"][-1])
    decided = [(v, verdict) for v, verdict in zip(found["values"], found["verdicts"], strict=True) if verdict in _SIDES]
    flips = [(a, b) for a, b in itertools.pairwise(decided) if a[1] != b[1]]
    if flips:
        return f"By {what} the answer flips " + ", and again ".join(_one_flip(found, *pair) for pair in flips) + "."
    if not decided:
        return f"By {what} neither side is shown to be better anywhere between {low} and {high}."
    sides = {verdict for _, verdict in decided}
    if len(decided) == len(found["values"]):
        return f"By {what} the answer does not flip between {low} and {high}: {VERDICT_WORDS[sides.pop()]} throughout."
    return (
        f"By {what} no flip is shown between {low} and {high}: {VERDICT_WORDS[sides.pop()]} at "
        f"{', '.join(said(v) for v, _ in decided)}, no better side shown elsewhere between them."
    )


def _one_flip(found: dict[str, Any], a: tuple[float, str], b: tuple[float, str]) -> str:
    said = naming.OVER[found["over"]]
    text = f"between {said(a[0])} ({VERDICT_WORDS[a[1]]}) and {said(b[0])} ({VERDICT_WORDS[b[1]]})"
    for crossing in found["crossings"]:
        if a[0] <= crossing["between"][0] and crossing["between"][1] <= b[0] and crossing["interval"]:
            low, high = crossing["interval"]
            text += f", near {said(crossing['at'])} ({said(low)} to {said(high)}, by straight line between the two)"
    return text


def _causes(summary: Summary) -> list[str]:
    """The largest payload's gap in p50 and its parts: of the headline pair, and of those whose parts no other pair has all."""
    found = [
        max(of_pair, key=lambda cause: cause["payload_bytes"])
        for pair in pairs(summary)
        if (of_pair := [c for c in summary["causes"] if c["pair"] == pair and c["metric"] == "p50"])
    ]
    parts = [frozenset(part["cause"] for part in cause["parts"]) for cause in found]
    return [
        _cause(cause)
        for cause, own in zip(found, parts, strict=True)
        if cause["pair"] == headline_pair(summary) or not any(own < other for other in parts)
    ]


def _cause(found: dict[str, Any]) -> str:
    grpc, rest = found["pair"]
    parts = "; ".join(f"{part['cause']}: {_amount(part['amount'], found['unit'])}" for part in found["parts"])
    return f"Why, at {found['where']}: {grpc} less {rest} is {plain(found['gap'], '+')} {found['unit']} of p50, made of {parts}."


def _amount(interval: list[float], unit: str) -> str:
    low, estimate, high = interval
    return f"{plain(estimate, '+')} {unit} ({plain(low, '+')} to {plain(high, '+')})"


def _model_time(summary: Summary, pair: list[str]) -> list[str]:
    for found in summary["crossovers"]:
        if found["pair"] == pair and found["indifferent_model_ms"]:
            told = "; ".join(
                f"{naming.place(int(p), found['condition'])}: {_milliseconds(ms)}"
                for p, ms in found["indifferent_model_ms"].items()
            )
            return [f"The choice moves p50 by less than 5 % once the model itself takes longer than: {told}."]
    return []


def _milliseconds(value: float) -> str:
    return "any time at all" if value == 0 else f"{plain(value)} ms"


def controls(summary: Summary) -> list[str]:
    """What the controls showed."""
    said = [
        f"A/A ({found['arm']} against itself), {METRIC_WORDS[found['metric']]} at {found['where']}: ratio "
        f"{found['ratio'][1]:.3f} ({found['ratio'][0]:.3f} to {found['ratio'][2]:.3f}), "
        f"{'covers 1' if found['covers_1'] else 'does NOT cover 1'}."
        for found in summary["controls"]["again"]
        if found["metric"] in {"p50", "cpu"}
    ]
    said += [
        f"Known delay of {found['known_us']:.0f} µs at {found['where']}, seen by "
        f"{METRIC_WORDS[found['metric']]}: "
        f"{found['found_us'][1]:.0f} µs ({found['found_us'][0]:.0f} to {found['found_us'][2]:.0f}), {found['status']}."
        for found in summary["controls"]["known_delay"]
    ]
    return said or ["This run had no controls (the arms grpc-again and control were left out)."]


STOP, UNQUOTABLE, DOUBT, NOTE = "No verdict", "Not to be quoted", "Doubt", "Note"
"""Grades of what a reader must know before believing a number, the gravest first."""
NOTED_OTHERS, UNQUOTABLE_OTHERS = 0.05, 0.25
"""Shares of the machine that other programs may use in the median slice."""


def doubts(summary: Summary) -> list[tuple[str, str]]:
    """What disqualifies, or may: each with its grade, the gravest first."""
    found = [*_stops(summary), *_withheld(summary), *_other_load(summary)]
    found += [(DOUBT, text) for text in _failed_gates(summary)]
    found += _modes(summary)
    found += [(DOUBT, text) for text in _warming(summary)]
    found += [(DOUBT, f"Besides the protocol: {text}.") for text in summary.get("differences", [])]
    found += [(NOTE, f"{sentence(note)}.") for note in summary["notes"]]
    if summary["services"] == "pair":
        found += _pair_notes(summary)
    order = (STOP, UNQUOTABLE, DOUBT, NOTE)
    return sorted(found, key=lambda doubt: order.index(doubt[0]))


def warnings(summary: Summary) -> list[str]:
    """The doubts without their grades."""
    return [text for _, text in doubts(summary)]


def _stops(summary: Summary) -> list[tuple[str, str]]:
    said = []
    if not summary.get("complete", True):
        rest = "no number of it may be used" if summary.get("wrong") else "what is here was measured before that"
        said.append((STOP, f"The run ended early ({summary['stopped']}); {rest}."))
    wrong: dict[str, list[str]] = {}
    for row in summary["gates"]:
        if row["gate"] == "wrong answers" and not row["passed"]:
            wrong.setdefault(row["arm"], []).append(f"{row['value']:.0f} at {row['where']}")
    for arm, counts in wrong.items():
        complaint = next((row["complaint"] for row in summary["arms"] if row["arm"] == arm and row["complaint"]), "")
        said.append((STOP, f"'{arm}' gave wrong replies ({', '.join(counts)}){': ' + complaint if complaint else ''}."))
    return said


def _withheld(summary: Summary) -> list[tuple[str, str]]:
    """One sentence for each reason and metric, with the places where it holds."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in summary.get("withheld", []):
        places = found.setdefault((cell["metric"], cell["withheld"]), [])
        if cell["where"] not in places:
            places.append(cell["where"])
    return [
        (STOP, f"By {METRIC_WORDS[metric]} at {_and(places)} nothing is judged: {reason}.")
        for (metric, reason), places in found.items()
    ]


MIDDLE = (0.35, 0.65)
"""Shares of the first mode with which the median may be in either."""


def _modes(summary: Summary) -> list[tuple[str, str]]:
    """A sentence for each place where latencies gather around two times; a doubt where a median may be either of them."""
    places: dict[str, list[dict[str, Any]]] = {}
    for row in summary["arms"]:
        if row.get("modes") and row["arm"] not in CONTROLS:
            places.setdefault(row["where"], []).append(row)
    return [
        (
            DOUBT if any(MIDDLE[0] <= row["modes"][0]["share"] <= MIDDLE[1] for row in rows) else NOTE,
            f"Latencies at {where} gather around two times: {'; '.join(map(_two_modes, rows))}. Their median says little of either.",
        )
        for where, rows in places.items()
    ]


def _two_modes(row: dict[str, Any]) -> str:
    told = [f"{plain(mode['median_ms'])} ms ({mode['share']:.0%})" for mode in row["modes"]]
    return f"'{row['arm']}' {told[0]} and {told[1]}"


def expected(rows: list[dict[str, Any]]) -> list[str]:
    """Before the measuring: how many requests each cell gets, what interval they can be expected to give, what more takes."""
    return [
        f"At {row['where']}: {row['requests']:,} requests of each arm in {row['blocks']} block{'s' * (row['blocks'] != 1)}; "
        f"{' / '.join(row['pair'])} {_reach(row)}."
        for row in rows
    ]


def _reach(row: dict[str, Any]) -> str:
    if row["reach"] is None:
        return "gets no interval, which takes two blocks or more"
    said = f"can be expected to be known within {plain(row['reach'])} times either way"
    if row["reach"] <= AIM:
        return said
    if row["needed"] is None:
        return f"{said}, and within {AIM:g} times by no number of blocks that can be asked for"
    return f"{said}, and within {AIM:g} times with --blocks {row['needed']}"


def _other_load(summary: Summary) -> list[tuple[str, str]]:
    others = summary["noise"]["others_median"]
    if others <= NOTED_OTHERS:
        return []
    text = f"Other programs used {others:.0%} of the machine in the median slice; a quiet machine gives other numbers."
    return [(UNQUOTABLE if others > UNQUOTABLE_OTHERS else NOTE, text)]


def _warming(summary: Summary) -> list[str]:
    return [
        f"'{found['arm']}' was still warming up at {found['where']}: a block's first turns took {found['first_to_last']:.2f} "
        "times as long as its last."
        for found in summary.get("warming", [])
    ]


def _pair_notes(summary: Summary) -> list[tuple[str, str]]:
    cpu = any(cell["metric"] == "cpu" for cell in summary["cells"])
    said = [
        (
            NOTE,
            "The known delay stands in the client's path: it says what the lab sees of latency, not of the services' CPU.",
        )
    ]
    if not cpu:
        said.append((NOTE, "The services' processes are not known (--pid-*, --start-*): nothing is said of their CPU."))
    return said


def _failed_gates(summary: Summary) -> list[str]:
    """A sentence for each gate and place, with the arms that did not pass it."""
    failed: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for gate in summary["gates"]:
        if not gate["passed"]:
            failed.setdefault((gate["where"], gate["gate"]), []).append(gate)
    return [
        f"{_and([gate['arm'] for gate in found])} at {where}: {name}, {amount([gate['value'] for gate in found], found[0]['unit'])} "
        f"(limit {limit([gate['limit'] for gate in found], found[0]['unit'])}): not used."
        for (where, name), found in failed.items()
    ]


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def again(summary: Summary) -> str:
    """The command that makes the run anew: into another folder, since its own holds a run."""
    given, kept = shlex.split(summary["command"]), []
    skip = False
    for word in given:
        if skip:
            skip = False
        elif word == "--out":
            skip = True
        elif not word.startswith("--out="):
            kept.append(word)
    return shlex.join(kept)


def limits(summary: Summary) -> list[str]:
    """What this run cannot show."""
    if summary["services"] == "pair":
        return [
            "One host made the load; what stands between it and the services is not part of the comparison.",
            "These two services in these versions: what their code does besides the wire is in the numbers too.",
            "One call at a time on each connection, on both sides alike: a client that multiplexes calls does otherwise.",
            "Ratios under load hold at this rate; near saturation they are others.",
        ]
    over = "TLS on the hop" if any(cell["tls"] for cell in summary["cells"]) else "Plain text"
    emulated = [found for found in summary["networks"] if found["usable"]]
    return [
        *([f"Networks are emulated packet by packet on this host ({_rounds(emulated)})."] if emulated else []),
        "One host: no network card, switch or second machine took part; the services shared its CPUs with the load.",
        "Python services of this project in these versions; other languages and libraries will differ.",
        f"{over}, one process of each service." if summary["services"] == "ours" else "One client.",
        "Ratios under load hold at this rate; near saturation they are others.",
    ]


def _rounds(networks: list[dict[str, Any]]) -> str:
    return "; ".join(
        f"{n['network']}: round trip {plain(n['median_ms'])} ms, {n['congestion_control']}" for n in networks
    )


def not_measured(summary: Summary) -> list[str]:
    """What this run leaves open; `--thorough` where that would measure it."""
    arms = {row["arm"] for row in summary["arms"]}
    cells = summary["cells"]
    if summary["services"] == "pair":
        return _not_measured_of_pair(summary)
    left = [
        (
            "rest-protobuf" in arms,
            "protocol and encoding as separate causes between gRPC and binary REST: not measured here: --thorough",
        ),
        (
            "grpc-lean-both" in arms,
            "gRPC without grpcio's cost, and its protocol and library as separate causes: not measured here: --thorough",
        ),
        (
            "rest-fastapi" in arms and "grpc-typed" in arms,
            "library, framework and encoding each as a cause of its own: not measured here: --thorough",
        ),
        ("grpc-stream" in arms, "long-lived gRPC streams: not measured here: --thorough"),
        ("inprocess" in arms, "no hop at all (the engine in the gateway): not measured here: --thorough"),
        (any(c["metric"] == "p99" for c in cells), "ratios of the tail (p90, p99): not measured here: --thorough"),
        (
            any(c["concurrency"] != cells[0]["concurrency"] for c in cells),
            "other concurrency: not measured here: --concurrency N N",
        ),
        (any(row["wire_bytes"] for row in summary["arms"]), "bytes over the hop: not measured"),
        (
            any(c["network"] != LOOPBACK for c in cells),
            f"networks other than {LOOPBACK}: not measured here: --network {LOOPBACK} same-zone region",
        ),
        (any(c["metric"] == "capacity" for c in cells), "capacity at a latency goal: not measured here: --goal MS"),
        ("grpc-blocking" in arms, "blocking callers: not measured here: --arms rest-blocking grpc-blocking"),
        ("rest-http2" in arms, "REST over HTTP/2: not measured here: --arms rest-httpx rest-hypercorn rest-http2 grpc"),
        ("grpc-unix" in arms, "Unix sockets: not measured here: --arms rest-unix grpc-unix"),
        ("grpc-gzip" in arms, "compression: not measured here: --arms rest-gzip grpc-gzip"),
        (any(c["tls"] for c in cells), "TLS: not measured here: --tls"),
    ]
    return [text for measured, text in left if not measured]


def _not_measured_of_pair(summary: Summary) -> list[str]:
    cells, arms = summary["cells"], {row["arm"] for row in summary["arms"]}
    left = [
        (any(c["metric"] == "cpu" for c in cells), "CPU of the services: not measured here: --pid-grpc and --pid-rest, or --start-*"),
        (any(row["wire_bytes"] for row in summary["arms"]), "bytes over the wire: not measured (services of another host)"),
        ("grpc-client" in arms and "rest-client" in arms, "a client's encoding: not measured here: --arms grpc-client rest-client"),
        (any(c["metric"] == "p99" for c in cells), "ratios of the tail (p90, p99): not measured here: --thorough"),
        (len({c["payload_bytes"] for c in cells}) > 1, "other payloads, and a crossover: not measured here: cases in a file"),
        (any(c["network"] != LOOPBACK for c in cells), "other networks: not measured here: --network with --start-*"),
        (any(c["metric"] == "capacity" for c in cells), "capacity at a latency goal: not measured here: --goal MS"),
    ]  # fmt: skip
    return [text for measured, text in left if not measured]
