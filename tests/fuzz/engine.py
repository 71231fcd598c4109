"""Running a target: for a number of inputs or a time, by mutation here, or under atheris where it is installed."""

from __future__ import annotations

import faulthandler
import hashlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutation import inputs
from tests.fuzz.target import Target

SCALED_EACH = 500
"""One input in so many is repeated up to megabytes too."""
_HANG_SECONDS = 60


@dataclass(frozen=True)
class Finding:
    """An input for which a parser does not do what it promises."""

    target: str
    data: bytes
    error: BaseException

    @property
    def name(self) -> str:
        return hashlib.sha256(self.data).hexdigest()[:16]

    def keep(self, folder: Path) -> Path:
        """Write the input where it can be run again; its file."""
        file = folder / self.target / self.name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.data)
        return file


@dataclass
class Count:
    """What was run."""

    inputs: int = 0
    scaled: int = 0


def run(
    target: Target, most: int, seconds: float, seed: int, count: Count, scaled_each: int = SCALED_EACH
) -> Finding | None:
    """The first finding of at most `most` inputs within `seconds`; None where there is none. Deterministic but for the time."""
    until = time.monotonic() + seconds
    rng = random.Random(f"{target.name} {seed}")
    for data in _bounded(target, most, seed):
        faulthandler.dump_traceback_later(_HANG_SECONDS, exit=True)
        try:
            target.check(data)
            count.inputs += 1
            if scaled_each and count.inputs % scaled_each == 0:
                target.check_scaled(data, rng.randrange(1 << 30))
                count.scaled += 1
        except Exception as error:
            return Finding(target.name, data, error)
        finally:
            faulthandler.cancel_dump_traceback_later()
        if time.monotonic() > until:
            break
    return None


def _bounded(target: Target, most: int, seed: int) -> Iterator[bytes]:
    made = inputs(target.corpus(), target.tokens, seed)
    for _, data in zip(range(most), made, strict=False):
        yield data
