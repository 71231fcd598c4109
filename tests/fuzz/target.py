"""What a fuzzer needs to know of one parser, and how an input that does wrong is told."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from tests.fuzz.mutation import repeated

CORPUS = Path(__file__).parent / "corpus"
SECONDS_FLOOR, SECONDS_A_MIB = 0.25, 2.0
"""Thread CPU seconds that an input may take: what is quadratic takes minutes for a megabyte."""
_TRIES = 3
"""An input is too slow when it is so each time: page faults and the garbage collector are not its own."""
SCALES = (64 << 10, 512 << 10, 2 << 20)
"""Sizes of inputs for complexity."""


class FindingError(AssertionError):
    """An input for which a parser does not do what it promises; the sentence says what it promises."""


@dataclass(frozen=True)
class Target:
    """One parser."""

    name: str
    run: Callable[[bytes], None]
    """Give the parser an input: whatever it raises is a finding."""
    modules: Sequence[ModuleType]
    """Where the parser stands: what coverage is measured of, and what atheris looks at."""
    tokens: Sequence[bytes] = ()
    """Words of its language."""
    seeds: Sequence[bytes] = field(default_factory=tuple)
    """Inputs to begin with, beside those in the corpus."""
    units: Sequence[Callable[[int], bytes]] = field(default_factory=tuple)
    """Hostile shapes of any size, whose growth tests/protocol/codecs/test_linear.py measures; run for coverage too."""
    speed: float = 1.0
    """Times SECONDS_A_MIB that it may take."""

    def corpus(self) -> list[bytes]:
        """The committed inputs, and the seeds."""
        folder = CORPUS / self.name
        kept = [file.read_bytes() for file in sorted(folder.iterdir())] if folder.is_dir() else []
        return [*self.seeds, *kept]

    def check(self, data: bytes) -> None:
        """Run one input; FindingError or the parser's own exception where something is wrong with what it does."""
        self.run(data)

    def check_scaled(self, data: bytes, seed: int, slowed: float = 1.0) -> None:
        """Repeat a part of an input up to megabytes: the time stays linear. `slowed`: what instruments cost."""
        rng = random.Random(seed)
        for size in SCALES:
            self.check_time(repeated(data, size, rng), slowed)

    def check_time(self, data: bytes, slowed: float = 1.0) -> None:
        """FindingError where an input takes more time than its size allows."""
        allowed = slowed * (SECONDS_FLOOR + SECONDS_A_MIB * self.speed * len(data) / (1 << 20))
        spent = allowed
        for _ in range(_TRIES):
            began = time.thread_time()
            self.run(data)
            spent = min(spent, time.thread_time() - began)
            if spent < allowed:
                return
        raise FindingError(f"{len(data)} bytes take {spent:.2f} s of CPU; {allowed:.2f} s are allowed")


def demand(holds: bool, promise: str) -> None:
    """FindingError where a promise does not hold."""
    if not holds:
        raise FindingError(promise)
