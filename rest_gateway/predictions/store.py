"""What the resources and the workers need of a store, whichever database is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from crossover.rest_gateway.predictions.record import Count, Filter, Job, Label, Outcome, Prediction, Revision, Task


class ConflictError(Exception):
    """The row is not in the state that the change was meant for."""


@dataclass(frozen=True, slots=True)
class StoredExchange:
    """The stored halves of `/api/predictions/{id}/exchange`, as JSON text."""

    http: str | None = None
    upstream: str | None = None


@dataclass(frozen=True, slots=True)
class Replacement:
    """What PUT puts in the place of a prediction's content."""

    task: Task
    label: Label
    note: str | None
    outcome: Outcome | None
    """None: it waits in the queue."""


@dataclass(frozen=True, slots=True)
class StoredReply:
    """What the first request under a key was answered with."""

    prediction_ids: tuple[str, ...]
    beside: dict[str, float] | None = None
    """Members beside `predictions` when several were asked for in one request; None for a single one."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What is known of an Idempotency-Key. Reserved by this call when `fingerprint` is None."""

    fingerprint: str | None = None
    reply: StoredReply | None = None
    """None while the first request still runs."""


@dataclass(frozen=True, slots=True)
class KeyHold:
    """A key that `owner` has reserved and that the new predictions are to be bound to."""

    key: str
    owner: str
    beside: dict[str, float] | None = None


class Store(Protocol):
    """Every method is one transaction: when it returns, what it did survives the end of the process.

    `owner` names one gateway process. StoreAwayError when the database cannot be reached.
    """

    async def add(self, created: Sequence[tuple[Prediction, StoredExchange]], hold: KeyHold | None) -> None:
        """Keep new predictions, queued or with an outcome, and bind the key; ConflictError when the hold was lost."""
        ...

    async def get(self, prediction_id: str) -> Prediction | None: ...

    async def many(self, prediction_ids: Sequence[str]) -> list[Prediction]:
        """Those that still exist, in the order asked for."""
        ...

    async def page(self, filters: Filter, limit: int, before: str | None) -> list[Prediction]:
        """Newest first, from after the id `before`; tensors whose text is long are left out (empty text)."""
        ...

    async def counts(self, filters: Filter) -> list[Count]: ...

    async def annotate(self, current: Prediction, label: Label, note: str | None) -> Prediction:
        """Set label and note; ConflictError when `current` is no longer the stored revision."""
        ...

    async def replace(
        self, current: Prediction, order: Replacement, exchange_of: Callable[[Prediction], Awaitable[StoredExchange]]
    ) -> Prediction:
        """A new input with its outcome, or queued without one; ConflictError when `current` is stale.

        `exchange_of` gives the exchange to keep once the new revision is known.
        """
        ...

    async def delete(self, prediction_id: str, revision: int | None) -> bool:
        """False when it was not there; ConflictError when `revision` is given and stale."""
        ...

    async def exchange(self, prediction_id: str) -> StoredExchange | None: ...

    async def history(self, prediction_id: str) -> tuple[Prediction, list[Revision]] | None:
        """The prediction and its revisions, the current one first; None when there is no such prediction."""
        ...

    async def claim(self, owner: str, lease_seconds: float) -> Job | None:
        """The oldest waiting job, or one whose lease has ended, now leased to `owner`."""
        ...

    async def renew(self, owner: str, lease_seconds: float) -> None:
        """Prolong all leases of `owner`, jobs and keys."""
        ...

    async def finish(self, job: Job, owner: str, outcome: Outcome, upstream_exchange: str | None) -> bool:
        """Store how the job ended; False when the job is no longer this owner's, and nothing is stored."""
        ...

    async def postpone(self, job: Job, owner: str, seconds: float) -> None:
        """Put the job back, to be taken up after `seconds`."""
        ...

    async def release(self, owner: str) -> None:
        """Put back all jobs and give up all keys of `owner`, which is about to stop."""
        ...

    async def reserve_key(self, key: str, fingerprint: str, owner: str, lease_seconds: float) -> KeyUse: ...

    async def free_key(self, key: str, owner: str) -> None:
        """Forget a reserved key whose request failed, so that it may be repeated."""
        ...

    async def mend(self, lease_seconds: float) -> None:
        """Bring moments that lie further ahead than any could back to now: the clock was set back since."""
        ...

    async def newest_id(self) -> str | None:
        """The id that sorts last."""
        ...

    async def prune(self, max_rows: int, oldest: int, oldest_key: int) -> int:
        """Delete finished predictions beyond `max_rows` (0: no bound) or created before `oldest`; how many."""
        ...

    async def close(self) -> None: ...
