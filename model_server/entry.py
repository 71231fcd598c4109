"""One model of the repository: what serves, what failed, and the files that both were made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from crossover.model_server import layout
from crossover.model_server.classification import Labels
from crossover.model_server.served import ServedVersion
from crossover.protocol.errors import Code, InferenceError, invalid
from crossover.protos import inference as pb

WHOLE = 0
"""Among the reasons: the model as a whole, not one of its versions."""


@dataclass(slots=True)
class Entry:
    """Changed on the event loop only, by single assignments: a request sees the old state or the new one."""

    name: str
    folder: Path
    serving: dict[int, ServedVersion] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    """Reasons by version; see `WHOLE`."""
    stamps: dict[int, layout.Fingerprint] = field(default_factory=dict)
    loading: bool = False
    """It is new, and nothing is known of its versions yet."""
    unloaded: bool = False
    along: bool = False
    """Loaded only because an ensemble that was loaded has it as a part."""
    given: pb.ModelConfig | None = None
    """The configuration that a load call brought, which stands in for config.pbtxt."""
    uploaded: bool = False
    """Its files came with a load call and are not in the repository."""
    ensemble: pb.ModelConfig | None = None
    """The configuration of an ensemble; what serves is linked from it (ensemble/links.py)."""
    labels: Labels = field(default_factory=dict)
    """Of the ensemble's own outputs."""
    misread: str = ""
    """Why the configuration that lies there now can't be served, while the ensemble of the one before does."""
    told: str = ""
    """What was logged last of the ensemble."""

    def resolve(self, version: str) -> ServedVersion:
        """The version asked for, or the highest that is ready."""
        if version:
            return self._numbered(_number(version))
        serving = self.serving
        if not serving:
            raise InferenceError(Code.UNAVAILABLE, f"model '{self.name}' is not at ready state: {self.reason()}")
        return serving[max(serving)]

    @property
    def is_ready(self) -> bool:
        """Every version serves, or somebody unloaded it."""
        return self.unloaded or (bool(self.serving) and not self.failed)

    def _numbered(self, number: int | str) -> ServedVersion:
        loaded = self.serving.get(number) if isinstance(number, int) else None
        if loaded is not None:
            return loaded
        if self.loading:
            raise InferenceError(Code.UNAVAILABLE, f"model '{self.name}' is not at ready state: {self.reason()}")
        if isinstance(number, int) and (number in self.failed or (self.unloaded and number in self.stamps)):
            reason = self.failed.get(number, "it is unloaded")
            raise InferenceError(
                Code.UNAVAILABLE, f"model '{self.name}' version {number} is not at ready state: {reason}"
            )
        ready = ", ".join(str(version) for version in sorted(self.serving)) or "none"
        raise InferenceError(
            Code.NOT_FOUND,
            f"Request for unknown model: '{self.name}' version {number} is not found; ready versions: {ready}",
        )

    def reason(self) -> str:
        """Why nothing serves."""
        if self.unloaded:
            return "it is unloaded"
        if self.loading:
            return "it is being loaded"
        return self.failures() or "it has no available versions"

    def failures(self) -> str:
        """What failed and why, with the version where there is one."""
        return "; ".join(
            reason if number == WHOLE else f"version {number}: {reason}"
            for number, reason in sorted(self.failed.items())
        )

    def lines(self) -> Iterator[pb.RepositoryIndexResponse.ModelIndex]:
        """The model's lines of the repository index."""
        line = pb.RepositoryIndexResponse.ModelIndex
        if self.unloaded:
            for number in sorted(self.stamps):
                yield line(name=self.name, version=str(number), state="UNAVAILABLE", reason="unloaded")
            return
        for number in sorted({*self.serving, *self.failed}):
            reason = self.failed.get(number, "")
            version = "" if number == WHOLE else str(number)
            yield line(name=self.name, version=version, state="UNAVAILABLE" if reason else "READY", reason=reason)


_MOST_DIGITS = len(str(layout.MOST_VERSION))


def _number(text: str) -> int | str:
    """The version's number; its text where no folder can have that many digits, which is an unknown version."""
    if not (text.isascii() and text.isdigit()):
        raise invalid(f"model version '{text[:40]}' is not an integer, 0 or more")
    digits = text.lstrip("0")
    return int(digits or "0") if len(digits) <= _MOST_DIGITS else digits[:40]
