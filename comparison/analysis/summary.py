"""`summary.json`: the run's answer for programs. The schema is versioned and described in docs/summary.md.

Within one major version fields are only added. Ratios are gRPC over REST: below 1, gRPC takes less.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossover.comparison.design import naming

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.comparison.analysis.controls import Equals, Recovery
    from crossover.comparison.analysis.crossover import Crossing
    from crossover.comparison.analysis.gates import Gate
    from crossover.comparison.analysis.statistics import Interval
    from crossover.comparison.analysis.verdicts import Judgement
    from crossover.comparison.design.arms import Pair
    from crossover.comparison.design.cells import Cell
    from crossover.comparison.design.samples import Experiment

SCHEMA = "crossover.summary/1.0"

CELL_FIELDS = (
    "view",
    "pair",
    "model",
    "payload_bytes",
    "concurrency",
    "rate",
    "network",
    "metric",
    "ratio",
    "ci",
    "verdict",
    "blocks",
)
"""What every cell has, whatever the version."""


def interval(found: Interval | None) -> list[float] | None:
    """An interval as [low, estimate, high]."""
    return [found.low, found.estimate, found.high] if found else None


def crossing(found: Crossing) -> dict[str, Any]:
    """One place where the answer flips; payloads in bytes."""
    return {
        "between": list(found.between),
        "at": found.at,
        "interval": list(found.interval) if found.interval else None,
        "support": found.support,
        "below": found.below,
    }


def names(cells: Sequence[Cell]) -> list[dict[str, str]]:
    """For each cell `condition`, what it has beside its payload where that varies, and `where`, both in words."""
    return [
        {
            "condition": condition,
            "where": naming.place(cell.payload_bytes, condition, slow=bool(cell.slow), case=cell.case),
        }
        for cell, condition in zip(cells, naming.conditions(cells), strict=True)
    ]


def cell(
    experiment: Experiment,
    design: Cell,
    named: dict[str, str],
    pair: Pair,
    metric: str,
    judged: Judgement,
    difference: Interval | None,
    medians: tuple[float, float] | None,
) -> dict[str, Any]:
    """One cell: the contract's fields first, then how they came about."""
    from crossover.comparison.analysis.measures import METRICS

    return {
        "view": design.view,
        "pair": [pair.grpc, pair.rest],
        "model": experiment.model,
        "payload_bytes": design.payload_bytes,
        "concurrency": design.concurrency,
        "rate": design.rate,
        "network": design.network,
        "metric": metric,
        "ratio": judged.ratio,
        "ci": [judged.interval.low, judged.interval.high] if judged.interval else None,
        "verdict": judged.verdict,
        "blocks": judged.blocks,
        **named,
        "load": design.load,
        "tls": bool(experiment.options.get("tls")),
        "unit": METRICS[metric],
        "question": pair.question,
        "lead": pair.lead or pair.question,
        "medians": list(medians) if medians else None,
        "difference": interval(difference),
        "reason": judged.reason,
        "withheld": judged.withheld or None,
        "case": design.case or None,
        "more_blocks": judged.more_blocks,
        "p_value": judged.p_value,
        "holm_p": judged.holm_p,
        "sign_flip_p": judged.sign_flip_p,
        "bootstrap_ci": [judged.bootstrap.low, judged.bootstrap.high] if judged.bootstrap else None,
        "hodges_lehmann": judged.hodges_lehmann,
    }


def document(
    *,
    experiment: Experiment,
    blocks: int,
    sha256: str,
    cells: list[dict[str, Any]],
    arms: list[dict[str, Any]],
    equals: list[Equals],
    recoveries: list[Recovery],
    gates: dict[tuple[int, str], list[Gate]],
    crossovers: list[dict[str, Any]],
    causes: list[dict[str, Any]],
    noise: dict[str, Any],
    starts: dict[str, Any],
    warming: list[dict[str, Any]],
) -> dict[str, Any]:
    """The summary; run state and provenance are added by whoever knows them."""
    cell_of = [
        {"payload_bytes": cell.payload_bytes, **named}
        for cell, named in zip(experiment.cells, names(experiment.cells), strict=True)
    ]
    return {
        "schema": SCHEMA,
        "created": experiment.created,
        "command": experiment.command,
        "model": experiment.model,
        "reply_bytes": experiment.options.get("reply_bytes"),
        "work": experiment.options.get("work") if experiment.model == "work" else None,
        "services": experiment.services,
        "blocks": blocks,
        "samples_sha256": sha256,
        "cells": cells,
        "arms": arms,
        "controls": {
            "again": [
                {
                    **cell_of[found.cell],
                    "metric": found.metric,
                    "arm": found.arm,
                    "ratio": interval(found.ratio),
                    "covers_1": found.ratio.covers(1),
                }
                for found in equals
            ],
            "known_delay": [
                {
                    **cell_of[found.cell],
                    "metric": found.metric,
                    "known_us": found.known_us,
                    "found_us": interval(found.found_us),
                    "status": found.status,
                }
                for found in recoveries
            ],
        },
        "gates": [
            {
                **cell_of[c],
                "arm": arm,
                "gate": gate.name,
                "value": gate.value,
                "limit": gate.limit,
                "unit": gate.unit,
                "passed": gate.passed,
            }
            for (c, arm), found in gates.items()
            for gate in found
        ],
        "crossovers": crossovers,
        "causes": causes,
        "capacity_probe": [{**cell_of[c], "requests_per_second": found} for c, found in enumerate(experiment.capacity)],
        "withheld": [
            {name: found[name] for name in ("pair", "where", "metric", "withheld")}
            for found in cells
            if found["withheld"]
        ],
        "differences": experiment.options.get("differences", []),
        "warming": warming,
        "noise": noise,
        "starts": starts,
        "networks": experiment.networks,
        "expected": experiment.expected,
        "notes": experiment.notes,
    }
