"""The whole analysis: raw samples in, summary out. Pure; the same samples always give the same summary."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.comparison.analysis import controls, crossover, explain, gates, modes, quantiles, summary, verdicts
from crossover.comparison.analysis import statistics as st
from crossover.comparison.analysis.cost import Prices, per_million
from crossover.comparison.analysis.measures import (
    CALLER,
    LARGER_IS_BETTER,
    METRICS,
    STREAM_METRICS,
    Bin,
    Measures,
    metrics_of,
)
from crossover.comparison.design import naming
from crossover.comparison.design.arms import ARMS, Pair, headline_pairs
from crossover.comparison.design.samples import LOAD

if TYPE_CHECKING:
    from crossover.comparison.analysis.controls import Equals, Recovery
    from crossover.comparison.analysis.gates import Gate
    from crossover.comparison.analysis.verdicts import Judgement
    from crossover.comparison.design.samples import Samples

SEED = 20_231
"""Of the bootstrap and the sampled sign flips: fixed, so that a report made again says the same."""
TESTED = ("p50", "p90", "p99", "first_message", "per_message", "cpu", "capacity")
"""Metrics that vary; Holm's correction counts these cells. Byte counts do not vary but with the payload."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: a pair in a cell, by a metric."""

    cell: int
    pair: Pair
    metric: str


WARMING, _FEWEST_WARMING = 1.25, 2
"""An arm is still warming up when its first turns take so many times as long as its last, over so many blocks."""
_SPOKEN_FOR = {"alone": frozenset({"p50", "p90", "p99", "first_message"}), "alone_cpu": frozenset({"cpu"})}
"""The metrics whose verdicts a missed delay withholds."""


class Analysis:
    """Everything that a run's samples say."""

    def __init__(self, samples: Samples, prices: Prices | None = None, wrong: str = "") -> None:
        self.samples = samples
        self.wrong = wrong
        """The wrong reply that ended the run, which may have come between two slices, where no gate sees it."""
        self.measures = Measures(samples)
        self.prices = prices or Prices()
        experiment = samples.experiment
        self.cells = experiment.cells
        self.names = summary.names(self.cells)
        self.arms = [arm for arm in experiment.arms if any(self.measures.bins(c, arm) for c in range(len(self.cells)))]
        self.metrics = metrics_of(samples.experiment.options, searched=bool(samples.capacities))
        self.gates = self._gates()
        self.equals = self._equals()
        self.recoveries = self._recoveries()
        self.judgements = self._judgements()

    def summary(self) -> dict[str, Any]:
        """The summary document (see `summary` for its schema), without what the caller knows: run state, provenance."""
        return summary.document(
            experiment=self.samples.experiment,
            blocks=self.samples.blocks,
            sha256=self.samples.sha256,
            cells=[self._cell(asked, found) for asked, found in self.judgements.items()],
            arms=[row for c in range(len(self.cells)) for arm in self.arms if (row := self._arm(c, arm))],
            equals=self.equals,
            recoveries=self.recoveries,
            gates=self.gates,
            crossovers=self.crossovers(),
            causes=self.causes(),
            noise=self.noise(),
            starts=self.starts(),
            warming=self.warming(),
        )

    def pairs(self) -> list[Pair]:
        """The pairs that are judged: the run's own, or those declared for our arms."""
        own = [Pair(*found) for found in self.samples.experiment.pairs]
        return [pair for pair in own if set(pair.key) <= set(self.arms)] if own else headline_pairs(self.arms)

    def differences(self, asked: Asked) -> st.Floats:
        """The difference of logarithms of each block."""
        return st.log_ratios(*self.measures.paired(asked.cell, asked.pair.grpc, asked.pair.rest, asked.metric))

    def _gates(self) -> dict[tuple[int, str], list[Gate]]:
        found: dict[tuple[int, str], list[Gate]] = {}
        round_trips = {item["network"]: item["median_ms"] for item in self.samples.experiment.networks}
        for c, cell in enumerate(self.cells):
            for arm in self.arms:
                if bins := self.measures.bins(c, arm):
                    checks = gates.gates(bins, cell.rate is None, round_trips.get(cell.network))
                    checks += gates.capacity_gates(self.measures.searches(c, arm))
                    found[c, arm] = [check for check in checks if check.concerns & set(self.metrics)]
        return found

    def _equals(self) -> list[Equals]:
        tested = [
            controls.equals(self.measures, c, metric, twice)
            for c in self._cells()
            for metric in self.metrics
            for twice in controls.AGAINST
        ]
        return [found for found in tested if found is not None]

    def _recoveries(self) -> list[Recovery]:
        metrics = controls.delay_metrics(self.samples.experiment.options)
        tested = [controls.recovery(self.measures, c, metric) for c in self._cells() for metric in metrics]
        return [found for found in tested if found is not None]

    def _cells(self) -> range:
        return range(len(self.cells))

    def _judgements(self) -> dict[Asked, Judgement]:
        asked = [
            Asked(c, pair, metric)
            for pair in self.pairs()
            for c in self._cells()
            if self.cells[c].compares(pair.key)
            for metric in self.metrics
        ]
        answered = {question: d for question in asked if len(d := self.differences(question))}
        tested = [question for question in answered if question.metric in TESTED]
        adjusted = dict(zip(tested, st.holm([st.t_test(answered[question]) for question in tested]), strict=True))
        return {question: self._judge(question, d, adjusted.get(question, 0.0)) for question, d in answered.items()}

    def _judge(self, asked: Asked, differences: st.Floats, holm_p: float) -> Judgement:
        failed = self.failures(asked)
        if failed:
            return verdicts.invalid(", and ".join(failed), len(differences))
        equals = [f for f in self.equals if (f.cell, f.metric) == (asked.cell, asked.metric) and f.metric in TESTED]
        return verdicts.judge(
            differences,
            seed=SEED,
            holm_p=holm_p,
            resolution=max((found.resolution for found in equals), default=0.0),
            larger_is_better=asked.metric in LARGER_IS_BETTER,
            withheld=self.withheld(asked.cell, asked.metric),
        )

    def withheld(self, cell: int, metric: str) -> str:
        """Why the controls forbid verdicts by this metric in this cell; empty when they hold."""
        if metric not in TESTED:
            return ""
        said = [
            f"A/A of {found.arm} leaves out 1 ({found.ratio.low:.3f} to {found.ratio.high:.3f})"
            for found in self.equals
            if (found.cell, found.metric) == (cell, metric) and not found.ratio.covers(1)
        ]
        said += [
            f"the known delay of {found.known_us:.0f} µs was found as {found.found_us.estimate:.0f} "
            f"({found.found_us.low:.0f} to {found.found_us.high:.0f})"
            for found in self.recoveries
            if found.cell == cell and found.status == "missed" and metric in _SPOKEN_FOR[found.metric]
        ]
        return "; ".join(said)

    def failures(self, asked: Asked) -> list[str]:
        """Why the pair's numbers may not be used: wrong replies of its arms anywhere, and gates that were not passed."""
        if self.wrong:
            return [self.wrong]
        return [
            f"{arm}: {gate.name}, {gates.amount([gate.value], gate.unit)} (limit {gates.limit([gate.limit], gate.unit)})"
            for (cell, arm), found in self.gates.items()
            for gate in found
            if arm in asked.pair.key
            and (cell == asked.cell or gate.name == gates.WRONG)
            and not gate.passed
            and asked.metric in gate.concerns
        ]

    def _cell(self, asked: Asked, judged: Judgement) -> dict[str, Any]:
        one, other = self.measures.paired(asked.cell, asked.pair.grpc, asked.pair.rest, asked.metric)
        difference = st.mean_interval(np.asarray(one, float) - np.asarray(other, float))
        return summary.cell(
            self.samples.experiment,
            self.cells[asked.cell],
            self.names[asked.cell],
            asked.pair,
            asked.metric,
            judged,
            difference,
            (float(np.median(one)), float(np.median(other))) if one else None,
        )

    def _arm(self, c: int, arm: str) -> dict[str, Any] | None:
        bins = self.measures.bins(c, arm)
        if not bins:
            return None
        latencies = np.concatenate([found.latencies_ms for found in bins])
        found = {f"p{100 * p:g}": quantiles.quantile(latencies, p) for p in quantiles.REPORTED}
        services = sorted({name for found_bin in bins for name in found_bin.services})
        wire = list(self.measures.by_block(c, arm, "wire_bytes").values())
        message = list(self.measures.by_block(c, arm, "message_bytes").values())
        own = [name for name in ("generator", CALLER) if any(name in line.cpu_ns for b in bins for line in b.lines)]
        cpu = {name: float(np.mean([b.cpu_us(name) for b in bins])) for name in [*services, *own]}
        cost = None
        if wire and services:
            cost = asdict(per_million(sum(cpu[name] for name in services) / 1e6, float(np.mean(wire)), self.prices))
        return {
            "arm": arm,
            "upstream": ARMS[arm].upstream if arm in ARMS else arm,
            "payload_bytes": self.cells[c].payload_bytes,
            "cell": c,
            **self.names[c],
            "packets_lost": sum(line.packets_lost for found_bin in bins for line in found_bin.lines),
            "requests": int(sum(len(found_bin.requests) for found_bin in bins)),
            "answered": len(latencies),
            "percentiles_ms": {name: summary.interval(value) for name, value in found.items() if value is not None},
            "cpu_us": cpu,
            "message_bytes": message[0] if message else None,
            "wire_bytes": float(np.mean(wire)) if wire else None,
            "cost_per_million": cost,
            "capacity": self._bracket(c, arm),
            "modes": self._modes(bins),
            **self._stream(c, arm),
            "complaint": next((line.complaint for b in bins for line in b.lines if line.complaint), ""),
        }

    @staticmethod
    def _modes(bins: list[Bin]) -> list[dict[str, float]] | None:
        """The two times that latencies gather around; None where that is one."""
        found = modes.two([found_bin.latencies_ms for found_bin in bins])
        return [asdict(mode) for mode in found] if found else None

    def _stream(self, c: int, arm: str) -> dict[str, Any]:
        """Of an arm whose replies are streams, medians over blocks."""
        found = {name: list(self.measures.by_block(c, arm, name).values()) for name in sorted(STREAM_METRICS)}
        return {f"{name}_ms": float(np.median(values)) for name, values in found.items() if values}

    def _bracket(self, c: int, arm: str) -> dict[str, float] | None:
        """Medians over blocks of the rates between which the arm's capacity lies; None where no search found both."""
        found = [item for item in self.measures.searches(c, arm) if item["bracket"]]
        if not found:
            return None
        low, high = np.median([item["bracket"] for item in found], axis=0).tolist()
        return {"goal_ms": found[0]["goal_ms"], "low": low, "high": high, "blocks": len(found)}

    def crossovers(self) -> list[dict[str, Any]]:
        """For each pair, metric and line of cells, where the ratio passes 1 over payload, concurrency or rate, or that
        it does not.
        """
        found = [
            self._crossover(pair, metric, over, condition, cells)
            for pair in self.pairs()
            for metric in ("p50", "cpu")
            for over in naming.OVER
            for condition, cells in naming.lines(self.cells, over)
        ]
        return [item for item in found if item is not None]

    def _crossover(self, pair: Pair, metric: str, over: str, condition: str, cells: list[int]) -> dict[str, Any] | None:
        usable = [
            c for c in cells if (judged := self.judgements.get(Asked(c, pair, metric))) and judged.verdict != "invalid"
        ]
        by_cell = [dict(self._log_by_block(c, pair, metric)) for c in usable]
        shared = sorted(set.intersection(*map(set, by_cell))) if by_cell else []
        if len(usable) < 2 or len(shared) < 2:
            return None
        values = [naming.value_of(self.cells[c], over) for c in usable]
        rows = np.array([[logs[block] for logs in by_cell] for block in shared])
        return {
            "pair": list(pair.key),
            "metric": metric,
            "over": over,
            "condition": condition,
            "values": values,
            "verdicts": [self.judgements[Asked(c, pair, metric)].verdict for c in usable],
            "crossings": [summary.crossing(item) for item in crossover.crossings(values, rows, SEED)],
            "indifferent_model_ms": self._indifferent(usable, pair) if (metric, over) == ("p50", "payload") else None,
        }

    def _log_by_block(self, c: int, pair: Pair, metric: str) -> list[tuple[int, float]]:
        one, other = (self.measures.by_block(c, arm, metric) for arm in pair.key)
        return [(block, math.log(one[block] / other[block])) for block in one.keys() & other.keys()]

    def _indifferent(self, cells: list[int], pair: Pair) -> dict[str, float]:
        """By payload, for the cells in which one side was shown to be better."""
        found: dict[str, float] = {}
        for c in cells:
            if self.judgements[Asked(c, pair, "p50")].verdict not in {"grpc", "rest"}:
                continue
            one, other = self.measures.paired(c, pair.grpc, pair.rest, "p50")
            found[str(self.cells[c].payload_bytes)] = crossover.indifferent_model_time(
                float(np.median(one)), float(np.median(other))
            )
        return found

    def causes(self) -> list[dict[str, Any]]:
        """For each pair, cell and metric, the parts of the gap that the run's rungs explain."""
        found: list[dict[str, Any]] = []
        for asked, judged in self.judgements.items():
            ladder = explain.ladder_for(asked.pair.key, self.arms)
            if ladder is None or asked.metric not in {"p50", "cpu"} or judged.verdict == "invalid":
                continue
            parts = explain.parts(self.measures, asked.cell, asked.metric, ladder)
            if parts:
                found.append(
                    {
                        "pair": list(asked.pair.key),
                        "payload_bytes": self.cells[asked.cell].payload_bytes,
                        **self.names[asked.cell],
                        "metric": asked.metric,
                        "unit": METRICS[asked.metric],
                        "gap": sum(part.amount.estimate for part in parts),
                        "parts": [
                            {"cause": p.cause, "step": list(p.step), "amount": summary.interval(p.amount)}
                            for p in parts
                        ],
                    }
                )
        return found

    def starts(self) -> dict[str, Any]:
        """Medians over blocks: cold start of the services, first request of each arm, peak memory of each service."""
        starts = self.samples.starts
        first = next((row.get("network") for row in starts), None)
        rows = [row for row in starts if row.get("network") == first]
        cold = [row["cold_start_s"] for row in rows if row["cold_start_s"] is not None]
        return {
            "cold_start_s": float(np.median(cold)) if cold else None,
            "first_request_ms": _medians([row["first_ms"] for row in rows]),
            "peak_memory_bytes": _medians([row["peak_memory_bytes"] for row in rows]),
        }

    def warming(self) -> list[dict[str, Any]]:
        """Arms that were still getting faster: the first third of a block's turns against the last, by median service
        time, where that fell in every block, and by more than `WARMING` in most.
        """
        found = []
        for c in self._cells():
            for arm in self.arms:
                ratios = [ratio for found_bin in self.measures.bins(c, arm) if (ratio := found_bin.warming())]
                if len(ratios) >= _FEWEST_WARMING and float(np.median(ratios)) > WARMING and min(ratios) > 1.1:
                    found.append({"cell": c, "arm": arm, **self.names[c], "first_to_last": float(np.median(ratios))})
        return found

    def noise(self) -> dict[str, Any]:
        """What else the machine did, and how many slices were run again because of it."""
        lines = [line for line, _ in self.samples.slices if line.kind == LOAD]
        kept = [line for line in lines if line.kept]
        return {
            "slices": len(lines),
            "rerun": len(lines) - len(kept),
            "steal_max": max((line.steal for line in kept), default=0.0),
            "others_median": float(np.median([line.others for line in kept])) if kept else 0.0,
            "others_max": max((line.others for line in kept), default=0.0),
            "pressure_median": float(np.median([line.pressure for line in kept])) if kept else 0.0,
        }


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """The median of each key over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.median([row[name] for row in rows if name in row])) for name in names}
