"""A prediction as the store keeps it. Tensors stay the JSON text that was read or will be sent."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias

Label: TypeAlias = str | int | None
Micros: TypeAlias = int
"""Microseconds since 1970 in UTC: one integer on every database."""


class State(StrEnum):
    """Where a prediction is in its life; the last two are final until somebody replaces the input."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TopClass:
    """What the model's first output says when it is one row of scores: the best index, its name and its score."""

    index: int
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `outputs` is JSON text; exactly one of `outputs` and `error` is set."""

    version: str = ""
    outputs: str | None = None
    error: str | None = None
    """A problem detail as JSON text."""
    answer: TopClass | None = None
    timings: dict[str, float] | None = None
    """Milliseconds by station, and `total`."""
    message_bytes: dict[str, int] | None = None
    """Encoded size of the upstream's `request` and `response` messages."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be run: all that a body says about the computation."""

    model: str
    inputs: str
    """The JSON array of input tensors as text."""
    upstream: str
    version: str = ""
    """The version asked for; empty for the highest that is ready."""
    parameters: str = "{}"
    trace: str = ""
    """Of the request that queued it, where that is sampled (tracing.Trace.text)."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One stored prediction."""

    id: str
    task: Task
    state: State
    created_at: Micros
    updated_at: Micros
    revision: int = 1
    label: Label = None
    note: str | None = None
    outcome: Outcome | None = None

    @property
    def etag(self) -> str:
        """A strong entity tag: the representation changes exactly when the revision does."""
        return f'"{self.id[-12:]}-{self.revision}"'


@dataclass(frozen=True, slots=True)
class Revision:
    """What a prediction was between two changes; `note` is cut."""

    number: int
    event: str | None
    """How it came about; None where that is forgotten."""
    at: Micros
    state: State
    upstream: str
    version: str | None
    label: Label
    note: str | None
    answer: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which predictions a list or a summary is about; None means any."""

    model: str | None = None
    label: str | None = None
    """Compared as text: 7 and "7" are the same label here."""
    state: State | None = None
    upstream: str | None = None
    since: Micros | None = None
    """Created at or after."""
    until: Micros | None = None
    """Created before."""


@dataclass(frozen=True, slots=True)
class Count:
    """Predictions of one model in one state."""

    model: str
    state: State
    upstream: str
    total: int
    labelled: int
    """Those with a label and an answer to compare it with."""
    correct: int


@dataclass(frozen=True, slots=True)
class Job:
    """A queued prediction that this worker holds until its lease ends."""

    id: str
    task: Task
    claim: int
    """The number of this claim: the store takes an outcome from the last claim only."""
    crashes: int
    """Earlier claims whose process died."""
    queued_at: Micros


@dataclass(slots=True)
class _Clock:
    """The last id's millisecond and counter, so that ids made in this process sort in the order of their making."""

    millisecond: int = 0
    counter: int = field(default=0)


_clock = _Clock()
_COUNTER_BITS = 12


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): it begins with the time in milliseconds, so ids sort by creation."""
    now = time.time_ns() // 1_000_000
    if now > _clock.millisecond:
        _clock.millisecond, _clock.counter = now, secrets.randbits(_COUNTER_BITS - 1)
    else:
        _clock.counter += 1
        if _clock.counter >> _COUNTER_BITS:
            _clock.millisecond, _clock.counter = _clock.millisecond + 1, 0
    number = (_clock.millisecond << 80) | (7 << 76) | (_clock.counter << 64) | (2 << 62) | secrets.randbits(62)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def continue_after(newest: str | None) -> None:
    """Let ids go on behind the newest that is stored, though the clock was set back since it was made."""
    if newest is not None:
        _clock.millisecond = max(_clock.millisecond, int(newest.replace("-", "")[:12], 16))


def now_micros() -> Micros:
    return time.time_ns() // 1000


def to_text(micros: Micros) -> str:
    """The point in time in RFC 3339, UTC, with microseconds."""
    return datetime.fromtimestamp(micros / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{micros % 1_000_000:06d}Z"


def from_text(text: str) -> Micros:
    """Microseconds of an RFC 3339 date or date-time (UTC when it names no offset); ValueError when it is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000 + moment.microsecond
