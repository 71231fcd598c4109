"""What concerns a service as a whole, asked of all its replicas.

- Ready and live: when one replica is.
- Load and unload: done when every replica did; a sentence says which did not, and nothing is undone.
- The repository's index: a version is READY when it is everywhere; else the line says where it is not.
- Statistics: summed over the replicas that take calls.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from crossover.clients.balancing.merging import merged_index, merged_statistics
from crossover.protocol.errors import InferenceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from crossover.protocol.inference import Inference

    Ask = Callable[[Inference], Awaitable[Any]]
    Merge = Callable[[Any, Sequence[tuple[str, Any]]], Any]

ANY = {"ServerLive": "live", "ServerReady": "ready"}
"""The reply's field that one yes is enough for."""
ALL = {"RepositoryModelLoad": "load", "RepositoryModelUnload": "unload"}
MERGED: dict[str, Merge] = {"RepositoryIndex": merged_index, "ModelStatistics": merged_statistics}
ONCE_EACH = frozenset({*ALL, *MERGED})
"""Asked once at each address, over however many connections it is reached."""


class Asked(Protocol):
    """A replica, or one of the processes that are one."""

    @property
    def address(self) -> str: ...

    async def call(self, ask: Ask) -> Any: ...


async def any_of(replicas: Sequence[Asked], ask: Ask, field: str) -> Any:
    """The first reply that says yes, else a no, else the first error."""
    asking = [asyncio.ensure_future(replica.call(ask)) for replica in replicas]
    outcomes: list[Any] = []
    try:
        for done in asyncio.as_completed(asking):
            try:
                reply = await done
            except InferenceError as error:
                outcomes.append(error)
            else:
                if getattr(reply, field):
                    return reply
                outcomes.insert(0, reply)
    finally:
        for each in asking:
            each.cancel()
    if isinstance(outcomes[0], InferenceError):
        raise outcomes[0]
    return outcomes[0]


async def all_of(replicas: Sequence[Asked], ask: Ask, what: str, plural: str = "replicas") -> Any:
    """The reply when every replica did it; else the first error, with the replicas that did not in its sentence."""
    outcomes = await ask_all(replicas, ask)
    failed = [(address, error) for address, error in outcomes if isinstance(error, InferenceError)]
    if not failed:
        return outcomes[0][1]
    first = failed[0][1]
    if len(failed) == len(outcomes) and len({error.message for _, error in failed}) == 1:
        raise first
    which = "; ".join(f"{address}: {error.message}" for address, error in failed)
    raise InferenceError(first.code, f"{what} failed at {len(failed)} of {len(outcomes)} {plural}: {which}")


async def merged(replicas: Sequence[Asked], ask: Ask, merge: Merge, request: Any) -> Any:
    """The replies of those that answer, as one; the first error when none does."""
    outcomes = await ask_all(replicas, ask)
    answered = [(address, reply) for address, reply in outcomes if not isinstance(reply, InferenceError)]
    if not answered:
        raise outcomes[0][1]
    return merge(request, answered)


async def ask_all(replicas: Sequence[Asked], ask: Ask) -> list[tuple[str, Any]]:
    """Each replica's address, and its reply or InferenceError."""

    async def outcome(replica: Asked) -> Any:
        try:
            return await replica.call(ask)
        except InferenceError as error:
            return error

    outcomes = await asyncio.gather(*(outcome(replica) for replica in replicas))
    return [(replica.address, each) for replica, each in zip(replicas, outcomes, strict=True)]
