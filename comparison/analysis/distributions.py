"""Quantiles and tails of distributions, from scipy.special: scipy.stats takes a second or two to import, at every command.

Each is the function of `scipy.stats` that its docstring names; a test holds them against it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special


def t_quantile(p: float, freedom: Any) -> Any:
    """`stats.t.ppf`: below it lies the share `p` of Student's t with so many degrees of freedom (a number or an array)."""
    return special.stdtrit(freedom, p)


def t_above(t: Any, freedom: Any) -> Any:
    """`stats.t.sf`: the share of Student's t above `t` (numbers or arrays)."""
    return special.stdtr(freedom, -np.asarray(t))


def beta_quantile(p: float, a: float, b: float) -> float:
    """`stats.beta.ppf`."""
    return float(special.betaincinv(a, b, p))


def binomial_quantile(q: float, count: int, p: float) -> int:
    """`stats.binom.ppf`: the fewest hits in `count` tries that are not exceeded with probability `q`."""
    hits = int(np.ceil(special.bdtrik(q, count, p)))  # an inverse by iteration: it may be off by one
    while hits > 0 and special.bdtr(hits - 1, count, p) >= q:
        hits -= 1
    while hits < count and special.bdtr(hits, count, p) < q:
        hits += 1
    return hits
