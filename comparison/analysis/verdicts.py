"""What may be said about one pair of arms in one cell, from its differences block by block."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from crossover.comparison.analysis import statistics as st

Verdict = Literal["grpc", "rest", "equal", "undecided", "invalid"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The ratio gRPC / REST (below 1: gRPC takes less) and the verdict that its interval allows."""

    ratio: float | None
    interval: st.Interval | None
    verdict: Verdict
    blocks: int
    more_blocks: int | None
    """For `undecided`: how many further blocks would decide if mean and spread stayed; None: more than a thousand."""
    reason: str
    withheld: str = ""
    """Why a control forbids a verdict here; empty when none does. The verdict is `undecided` then."""
    p_value: float = 1.0
    holm_p: float = 1.0
    bootstrap: st.Interval | None = None
    sign_flip_p: float = 1.0
    hodges_lehmann: float | None = None


FEWEST_TO_FORECAST = 4
"""With fewer blocks their spread says too little to forecast how many would decide."""


def invalid(reason: str, blocks: int = 0) -> Judgement:
    return Judgement(None, None, "invalid", blocks, None, reason)


def judge(
    differences: st.Floats,
    *,
    seed: int,
    holm_p: float,
    resolution: float = 0.0,
    larger_is_better: bool = False,
    withheld: str = "",
) -> Judgement:
    """The judgement on `differences` (ln of gRPC over REST, one for each block).

    `equal`: the whole interval lies within the margin (two one-sided tests, Schuirmann 1987, at 2.5 % each).
    `grpc` or `rest`: the interval leaves 1 out, the p-value stays below 5 % after Holm's correction over the
    headline cells, and the ratio is further from 1 than `resolution`, the A/A pair's largest distance (as a
    logarithm): what the lab sees between two equal arms it cannot call a difference. Where `larger_is_better`, the
    arm with the larger number is the better one. `withheld` is why a control forbids any verdict.
    """
    interval = st.mean_interval(differences)
    if interval is None:
        return _undecided_by_count(differences)
    verdict, reason = _verdict(interval, holm_p, resolution, larger_is_better)
    if withheld:
        verdict, reason = "undecided", f"withheld: {withheld}"
    p_value = st.t_test(differences)
    needed = None
    if verdict == "undecided" and not withheld and len(differences) >= FEWEST_TO_FORECAST:
        needed = st.blocks_needed(differences, resolution=resolution, family=max(1.0, holm_p / max(p_value, 1e-300)))
    bootstrap = st.bootstrap_interval(differences, seed)
    return Judgement(
        ratio=math.exp(interval.estimate),
        interval=interval.exp(),
        verdict=verdict,
        blocks=len(differences),
        more_blocks=needed - len(differences) if needed else None,
        reason=reason,
        withheld=withheld,
        p_value=p_value,
        holm_p=holm_p,
        bootstrap=bootstrap.exp() if bootstrap else None,
        sign_flip_p=st.sign_flip_test(differences, seed),
        hodges_lehmann=math.exp(st.hodges_lehmann(differences)),
    )


def _undecided_by_count(differences: st.Floats) -> Judgement:
    ratio = math.exp(float(differences[0])) if len(differences) else None
    return Judgement(ratio, None, "undecided", len(differences), None, "an interval takes at least two blocks")


def _verdict(interval: st.Interval, holm_p: float, resolution: float, larger_is_better: bool) -> tuple[Verdict, str]:
    margin = math.log(st.EQUIVALENCE)
    if -margin < interval.low and interval.high < margin:
        return "equal", f"the whole interval lies within {st.EQUIVALENCE:.2f} times either way"
    if interval.covers(0):
        return "undecided", "the interval covers 1 and reaches beyond the margin of practical equality"
    if abs(interval.estimate) <= resolution:
        return "undecided", "the difference is no larger than what two equal arms (A/A) showed"
    if holm_p >= 1 - st.CONFIDENCE:
        return "undecided", "the interval leaves out 1, but not after correcting for the number of cells (Holm)"
    return ("grpc" if (interval.estimate < 0) != larger_is_better else "rest"), "the interval leaves out 1"
