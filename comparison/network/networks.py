"""The networks of a run: calibrated before use, and one of them in force at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from crossover.comparison.network.calibration import Calibration, calibrated
from crossover.comparison.network.link import Link, LinkError
from crossover.comparison.network.profiles import LOOPBACK, PROFILES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Networks:
    """Those of the networks asked for that can be had here; `notes` says why others cannot."""

    def __init__(self, asked: Sequence[str], seed: int, tell: Callable[[str], None]) -> None:
        self.calibrations: dict[str, Calibration] = {}
        self.notes: list[str] = []
        self._seed = seed
        self._link: Link | None = None
        profiles = [name for name in asked if name != LOOPBACK]
        if profiles:
            self._open(profiles, tell)
        self.usable = [name for name in asked if name == LOOPBACK or self._is_usable(name)]

    def _open(self, profiles: Sequence[str], tell: Callable[[str], None]) -> None:
        try:
            self._link = Link()
        except LinkError as error:
            self.notes += [f"network {name}: skipped, {error}" for name in profiles]
            return
        for name in profiles:
            tell(f"calibrating network {name}")
            try:
                found = self.calibrations[name] = calibrated(self._link, PROFILES[name], self._seed)
            except LinkError as error:
                self.notes.append(f"network {name}: skipped, {error}")
                continue
            if not found.usable:
                self.notes.append(f"network {name}: skipped, {found.sentence}")

    def _is_usable(self, name: str) -> bool:
        return name in self.calibrations and self.calibrations[name].usable

    def use(self, name: str, seed: int) -> Link | None:
        """Put network `name` in force; its link, or None for the loopback interface."""
        if name == LOOPBACK or self._link is None:
            return None
        self._link.use(PROFILES[name], self.calibrations[name].correction_ms, seed)
        return self._link

    def close(self) -> None:
        if self._link is not None:
            self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
