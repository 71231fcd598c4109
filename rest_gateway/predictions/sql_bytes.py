"""PREDICTION_MAX_BYTES: how many bytes are kept, by the rows' own count of theirs.

The sum of all rows comes from an index that holds nothing else, and is asked for only when the bound is near: between two
times this process adds up what it stores. What is over the bound makes room by deleting the oldest finished predictions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from crossover.rest_gateway.api.failures import StoreFullError
from crossover.rest_gateway.predictions import sql_history
from crossover.rest_gateway.predictions.record import State
from crossover.rest_gateway.predictions.schema import exchanges, predictions

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from crossover.rest_gateway.predictions.record import Outcome, Prediction
    from crossover.rest_gateway.predictions.store import StoredExchange

ROW_BYTES = 512
"""Of a row beside its texts: about what its columns and its places in the indexes take."""
_ROOM = 0.1
"""The share of the bound that is made free at once, so that not every request deletes."""
_FINAL = (State.SUCCEEDED, State.FAILED)
_TABLE = predictions.c


def size_of(prediction: Prediction, exchange: StoredExchange) -> int:
    """About how many bytes a prediction and its exchange take in the database."""
    outcome = prediction.outcome
    texts = (prediction.task.inputs, prediction.task.parameters, prediction.note, exchange.http, exchange.upstream)
    return (
        ROW_BYTES
        + sql_history.size_of(prediction.revision)
        + sum(map(_length, texts))
        + (0 if outcome is None else outcome_size(outcome))
    )


def outcome_size(outcome: Outcome) -> int:
    return _length(outcome.outputs) + _length(outcome.error)


def _length(text: str | None) -> int:
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())


class Bound:
    """The bound of one store."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: int | None = None
        """An upper estimate of what is kept; None where it was not asked for yet."""

    async def make_room(self, connection: AsyncConnection, size: int) -> None:
        """Room for `size` bytes more, by deleting the oldest that are finished; StoreFullError where there is none."""
        if not self._most:
            return
        if self._kept is None or self._kept + size > self._most:
            self._kept = await _sum(connection)
        if self._kept + size > self._most:
            self._kept -= await self._delete_oldest(connection, size)
        if self._kept + size > self._most:
            raise StoreFullError(
                f"{self._kept} bytes of predictions wait or are too new to go; PREDICTION_MAX_BYTES is {self._most}"
            )
        self._kept += size

    async def grown(
        self, connection: AsyncConnection, prediction_id: str, outcome: Outcome, exchange: str | None
    ) -> None:
        """A queued prediction has its outcome."""
        size = outcome_size(outcome) + _length(exchange)
        values = {"stored_bytes": _TABLE.stored_bytes + size}
        await connection.execute(update(predictions).where(_TABLE.id == prediction_id).values(values))
        self._kept = None if self._kept is None else self._kept + size

    async def counted(self, connection: AsyncConnection, changed: Prediction, exchange: StoredExchange) -> None:
        """A prediction has another content."""
        size = size_of(changed, exchange)
        await self.make_room(connection, size)
        await connection.execute(update(predictions).where(_TABLE.id == changed.id).values(stored_bytes=size))

    async def first_beyond(self, connection: AsyncConnection) -> str | None:
        """The newest id that the bound leaves no room for; None where all have room."""
        if not self._most:
            return None
        self._kept = await _sum(connection)
        return await _first_beyond(connection, self._most) if self._kept > self._most else None

    async def _delete_oldest(self, connection: AsyncConnection, size: int) -> int:
        """Delete what is finished and beyond the bound less `size`, and some more; the bytes that went."""
        last = await _first_beyond(connection, round(self._most * (1 - _ROOM)) - size)
        if last is None:
            return 0
        surplus = (_TABLE.id <= last) & _TABLE.state.in_(_FINAL)
        before = await _sum(connection)
        of_these = select(_TABLE.id).where(surplus)
        await connection.execute(delete(exchanges).where(exchanges.c.prediction_id.in_(of_these)))
        await sql_history.forget(connection, of_these)
        await connection.execute(delete(predictions).where(surplus))
        return before - await _sum(connection)


async def _sum(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(func.coalesce(func.sum(_TABLE.stored_bytes), 0)))).scalar_one())


async def _first_beyond(connection: AsyncConnection, most: int) -> str | None:
    total = func.sum(_TABLE.stored_bytes).over(order_by=_TABLE.id.desc()).label("total")
    newest_first = select(_TABLE.id, total).subquery()
    query = select(func.max(newest_first.c.id)).where(newest_first.c.total > most)
    return (await connection.execute(query)).scalar_one_or_none()
