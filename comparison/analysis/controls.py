"""The controls that every run carries: two equal arms that must look equal, and a known delay that must be found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from crossover.comparison.analysis import statistics as st
from crossover.comparison.analysis.measures import ALONE
from crossover.comparison.design.arms import AGAIN, CONTROL, REFERENCE, REST_AGAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crossover.comparison.analysis.measures import Measures

TOLERANCE = 0.10
"""The control is recovered when the known length lies in the interval, widened by a tenth of that length."""


AGAINST = {AGAIN: REFERENCE, REST_AGAIN: "rest"}
"""The A/A pairs: an arm under a second name, and under its own."""


@dataclass(frozen=True, slots=True)
class Equals:
    """An A/A pair in one cell and metric."""

    cell: int
    metric: str
    arm: str
    """The arm that was run twice."""
    ratio: st.Interval
    p_value: float

    @property
    def resolution(self) -> float:
        """The largest distance from 1 in its interval, as a logarithm: nothing smaller can be called a difference."""
        return max(abs(math.log(self.ratio.low)), abs(math.log(self.ratio.high)))


@dataclass(frozen=True, slots=True)
class Recovery:
    """The positive control in one cell and metric."""

    cell: int
    metric: str
    known_us: float
    found_us: st.Interval
    status: Literal["recovered", "missed", "too noisy"]


def equals(measures: Measures, cell: int, metric: str, twice: str = AGAIN) -> Equals | None:
    """The A/A pair's ratio; None when the run has no such pair or fewer than two blocks."""
    again, reference = measures.paired(cell, twice, AGAINST[twice], metric)
    differences = st.log_ratios(again, reference)
    interval = st.mean_interval(differences)
    return Equals(cell, metric, AGAINST[twice], interval.exp(), st.t_test(differences)) if interval else None


def recovery(measures: Measures, cell: int, metric: str) -> Recovery | None:
    """What the control took beyond the reference by a metric of `measures.ALONE`, against the known length.

    Not under load: there a delay also lengthens the queue for whoever comes next, which every percentile shows too, and
    requests that gather in it cost less CPU together.
    """
    busy = measures.samples.experiment.busy_ns
    if cell >= len(busy) or not busy[cell]:
        return None
    interval = st.mean_interval(measures.shifts_us(cell, CONTROL, REFERENCE, ALONE[metric]))
    known = busy[cell] / 1000
    return Recovery(cell, metric, known, interval, _status(interval, known)) if interval else None


def _status(found: st.Interval, known: float) -> Literal["recovered", "missed", "too noisy"]:
    """An interval that leaves the truth out has missed it, however wide it is."""
    slack = TOLERANCE * known
    if not found.low - slack <= known <= found.high + slack:
        return "missed"
    return "too noisy" if found.half_width > known / 2 else "recovered"


def delay_metrics(options: Mapping[str, object]) -> tuple[str, ...]:
    """By what the known delay is looked for: a wait in the client's path takes none of the services' CPU."""
    return ("alone",) if options.get("delay_in") == "client" else tuple(ALONE)
