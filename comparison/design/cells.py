"""The design of the experiment: randomised blocks of short interleaved slices.

A block starts fresh processes, visits its cells in random order, and in each cell runs every arm of the cell in random
order, then in the reverse order, and so on (ABBA: a drift that is straight over two turns falls on all arms alike). All
arms of a block, cell and turn share one seed, hence one schedule and the same payloads. Slices are short because a
shared machine is faster in one second than in the next: many short turns meet the same weather, two long ones do not.
Cells of slow arms come in some blocks only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.design.schedule import FEWEST

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of factors; all arms are compared within it."""

    payload_bytes: int
    concurrency: int
    """Connections of the load generator; in the closed loop also the calls in flight."""
    rate: float | None
    """Requests per second, open loop; None: closed loop."""
    network: str = "loopback"
    view: str = "end-to-end"
    load: float | None = None
    """The rate as a share of what the cell's slowest arm reached in the probe; None: the rate was given, or closed loop."""
    arms: tuple[str, ...] = ()
    """The arms that run in it; empty: all."""
    slow: tuple[str, ...] = ()
    """The arms for whose sake it has a slower rate than its sister; the others in it are what they are compared with."""
    case: str = ""
    """The name of what is sent, where a run has several kinds of it; `MIX` for all of them by weight."""

    def compares(self, pair: tuple[str, str]) -> bool:
        """Whether the cell is where this pair is judged."""
        return not self.slow or not set(self.slow).isdisjoint(pair)


MIX = "mix"


@dataclass(frozen=True, slots=True)
class Slice:
    """One arm driven for a short while."""

    block: int
    cell: int
    """Index into the list of cells."""
    arm: str
    turn: int
    """0 for the first pass over the arms, 1 for the second, and so on."""
    seed: int
    """Of the schedule and the payloads' order: the same for every arm of this block, cell and turn."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fresh start of all processes and the slices that they serve."""

    index: int
    seed: int
    slices: tuple[Slice, ...]


SLOW_BLOCKS = 4
"""Cells of slow arms are visited in about so many blocks of a run: their gaps are wide, and their requests take long."""


def plan(
    blocks: int, cells: Sequence[Cell], arms: Sequence[str], turns: int, seconds: float, seed: int, first: int = 0
) -> list[Block]:
    """Every block's slices, of about `seconds` each, in the order in which they are to be run; the same for the same
    arguments. `first` is the index of the first block: those of a run that goes on have other seeds than those before.
    """
    turns_of = [turns_in(cell, turns, seconds) for cell in cells]
    every = max(1, blocks // SLOW_BLOCKS)
    return [
        _block(
            index,
            [c for c, cell in enumerate(cells) if not cell.slow or index % every == 0],
            cells,
            arms,
            turns_of,
            seed,
        )
        for index in range(first, first + blocks)
    ]


def turns_in(cell: Cell, turns: int, seconds: float) -> int:
    """Turns in a cell: as many as asked for, or fewer, in pairs, where a slice needs longer for its fewest requests."""
    if cell.rate is None:
        return turns
    pairs = round(turns * seconds / max(seconds, FEWEST / cell.rate) / 2)
    return min(turns, 2 * max(1, pairs))


def _block(
    index: int, visited: list[int], cells: Sequence[Cell], every_arm: Sequence[str], turns_of: Sequence[int], seed: int
) -> Block:
    random = np.random.default_rng([seed, index])
    slices: list[Slice] = []
    for cell in random.permutation(visited):
        arms = cells[cell].arms or every_arm
        order = [arms[i] for i in random.permutation(len(arms))]
        for turn in range(turns_of[cell]):
            shared = int(random.integers(0, 2**31))
            slices += [Slice(index, int(cell), arm, turn, shared) for arm in (order if turn % 2 == 0 else order[::-1])]
    return Block(index, int(random.integers(0, 2**31)), tuple(slices))
