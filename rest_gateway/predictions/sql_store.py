"""The store over SQLAlchemy Core: the same statements on SQLite and PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import case, delete, func, insert, null, select, update

from crossover.rest_gateway.api.failures import StoreFullError
from crossover.rest_gateway.predictions import sql_bytes, sql_history, sql_keys, sql_queue
from crossover.rest_gateway.predictions.record import Count, Prediction, State, now_micros
from crossover.rest_gateway.predictions.rows import (
    note_columns,
    outcome_columns,
    prediction_of,
    state_after,
    task_columns,
)
from crossover.rest_gateway.predictions.schema import exchanges, idempotency_keys, predictions
from crossover.rest_gateway.predictions.store import ConflictError, StoredExchange

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from crossover.rest_gateway.predictions.database import Database
    from crossover.rest_gateway.predictions.record import Filter, Job, Label, Outcome, Revision
    from crossover.rest_gateway.predictions.store import KeyHold, KeyUse, Replacement

LISTED_CHARS = 16 << 10
"""Tensors whose JSON text is longer are left out of lists."""
_PRUNED_AT_ONCE = 500
_FINAL = (State.SUCCEEDED, State.FAILED)
_FREE = {"owner": None, "lease_until": None, "run_after": None, "queued_at": None, "crashes": 0}


class SqlStore:
    """`Store` on a `Database` whose tables are up to date; it keeps at most `most_bytes` (0: no bound)."""

    def __init__(self, database: Database, most_bytes: int = 0) -> None:
        self._database = database
        self._bytes = sql_bytes.Bound(most_bytes)

    async def add(self, created: Sequence[tuple[Prediction, StoredExchange]], hold: KeyHold | None) -> None:
        rows = [_columns(prediction, exchange) for prediction, exchange in created]
        async with self._database.writing() as connection:
            await self._bytes.make_room(connection, sum(row["stored_bytes"] for row in rows))
            await connection.execute(insert(predictions), rows)
            await connection.execute(
                insert(exchanges),
                [
                    {"prediction_id": prediction.id, "http": exchange.http, "upstream": exchange.upstream}
                    for prediction, exchange in created
                ],
            )
            if hold is not None:
                await sql_keys.bind(connection, hold, [prediction.id for prediction, _ in created])

    async def get(self, prediction_id: str) -> Prediction | None:
        async with self._database.reading() as connection:
            return await _get(connection, prediction_id)

    async def many(self, prediction_ids: Sequence[str]) -> list[Prediction]:
        async with self._database.reading() as connection:
            rows = await connection.execute(select(predictions).where(predictions.c.id.in_(prediction_ids)))
            by_id = {row["id"]: prediction_of(row) for row in rows.mappings()}
        return [by_id[prediction_id] for prediction_id in prediction_ids if prediction_id in by_id]

    async def page(self, filters: Filter, limit: int, before: str | None) -> list[Prediction]:
        query = _listed().where(*_conditions(filters)).order_by(predictions.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(predictions.c.id < before)
        async with self._database.reading() as connection:
            return [prediction_of(row) for row in (await connection.execute(query)).mappings()]

    async def counts(self, filters: Filter) -> list[Count]:
        table = predictions.c
        comparable = table.label_text.is_not(None) & table.answer_label.is_not(None)
        keys = (table.model, table.state, table.upstream)
        query = (
            select(
                *keys,
                func.count(),
                func.sum(case((comparable, 1), else_=0)),
                func.sum(case((comparable & (table.label_text == table.answer_label), 1), else_=0)),
            )
            .where(*_conditions(filters))
            .group_by(*keys)
            .order_by(*keys)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
            return [Count(row[0], State(row[1]), row[2], row[3], row[4], row[5]) for row in rows]

    async def annotate(self, current: Prediction, label: Label, note: str | None) -> Prediction:
        async with self._database.writing() as connection:
            return await _change(connection, current, sql_history.Event.EDITED, note_columns(label, note))

    async def replace(
        self, current: Prediction, order: Replacement, exchange_of: Callable[[Prediction], Awaitable[StoredExchange]]
    ) -> Prediction:
        changes = {
            **task_columns(order.task),
            **note_columns(order.label, order.note),
            **outcome_columns(order.outcome),
            **_FREE,
            "state": state_after(order.outcome),
        }
        if order.outcome is None:
            changes["queued_at"] = changes["run_after"] = now_micros()
        async with self._database.writing() as connection:
            changed = await _change(connection, current, sql_history.Event.REPLACED, changes)
            exchange = await exchange_of(changed)
            await self._bytes.counted(connection, changed, exchange)
            values = {"http": exchange.http, "upstream": exchange.upstream}
            await connection.execute(update(exchanges).where(exchanges.c.prediction_id == current.id).values(values))
            return changed

    async def delete(self, prediction_id: str, revision: int | None) -> bool:
        try:
            return await self._delete(prediction_id, revision)
        except StoreFullError:
            if not self._database.give_up_reserve():
                raise
        done = await self._delete(prediction_id, revision)
        await self._database.give_back()
        return done

    async def _delete(self, prediction_id: str, revision: int | None) -> bool:
        async with self._database.writing() as connection:
            query = delete(predictions).where(predictions.c.id == prediction_id)
            if revision is not None:
                query = query.where(predictions.c.revision == revision)
            if (await connection.execute(query)).rowcount:
                await connection.execute(delete(exchanges).where(exchanges.c.prediction_id == prediction_id))
                await sql_history.forget(connection, [prediction_id])
                return True
            if revision is not None and await _get(connection, prediction_id) is not None:
                raise ConflictError
            return False

    async def exchange(self, prediction_id: str) -> StoredExchange | None:
        async with self._database.reading() as connection:
            query = select(exchanges).where(exchanges.c.prediction_id == prediction_id)
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else StoredExchange(row["http"], row["upstream"])

    async def history(self, prediction_id: str) -> tuple[Prediction, list[Revision]] | None:
        async with self._database.reading() as connection:
            current = await _get(connection, prediction_id)
            return None if current is None else (current, await sql_history.of(connection, current))

    async def claim(self, owner: str, lease_seconds: float) -> Job | None:
        async with self._database.writing() as connection:
            return await sql_queue.claim(connection, owner, lease_seconds)

    async def renew(self, owner: str, lease_seconds: float) -> None:
        async with self._database.writing() as connection:
            await sql_queue.renew(connection, owner, lease_seconds)
            await sql_keys.renew(connection, owner, lease_seconds)

    async def finish(self, job: Job, owner: str, outcome: Outcome, upstream_exchange: str | None) -> bool:
        async with self._database.writing() as connection:
            if not await sql_queue.finish(connection, job, owner, outcome, upstream_exchange):
                return False
            await self._bytes.grown(connection, job.id, outcome, upstream_exchange)
            return True

    async def postpone(self, job: Job, owner: str, seconds: float) -> None:
        async with self._database.writing() as connection:
            await sql_queue.postpone(connection, job, owner, seconds)

    async def release(self, owner: str) -> None:
        async with self._database.writing() as connection:
            await sql_queue.release(connection, owner)
            await sql_keys.release(connection, owner)

    async def reserve_key(self, key: str, fingerprint: str, owner: str, lease_seconds: float) -> KeyUse:
        async with self._database.writing() as connection:
            return await sql_keys.reserve(connection, key, fingerprint, owner, lease_seconds)

    async def free_key(self, key: str, owner: str) -> None:
        async with self._database.writing() as connection:
            await sql_keys.free(connection, key, owner)

    async def prune(self, max_rows: int, oldest: int, oldest_key: int) -> int:
        try:
            pruned = await self._prune(max_rows, oldest, oldest_key)
        except StoreFullError:
            if not self._database.give_up_reserve():
                raise
            pruned = await self._prune(max_rows, oldest, oldest_key)
            await self._database.give_back()
        self._database.keep_reserve()
        return pruned

    async def mend(self, lease_seconds: float) -> None:
        async with self._database.writing() as connection:
            await sql_queue.mend(connection, lease_seconds)
            await sql_keys.mend(connection, lease_seconds)

    async def newest_id(self) -> str | None:
        async with self._database.reading() as connection:
            return (await connection.execute(select(func.max(predictions.c.id)))).scalar_one_or_none()

    async def _prune(self, max_rows: int, oldest: int, oldest_key: int) -> int:
        pruned = 0
        async with self._database.writing() as connection:
            await connection.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < oldest_key))
            last = await _first_beyond(connection, max_rows) if max_rows else None
            heavy = await self._bytes.first_beyond(connection)
            last = max(last or "", heavy or "") or None
        while True:
            async with self._database.writing() as connection:
                ids = await _prunable(connection, oldest, last)
                if not ids:
                    return pruned
                await connection.execute(delete(predictions).where(predictions.c.id.in_(ids)))
                await connection.execute(delete(exchanges).where(exchanges.c.prediction_id.in_(ids)))
                await sql_history.forget(connection, ids)
            pruned += len(ids)

    async def close(self) -> None:
        await self._database.close()


def _columns(prediction: Prediction, exchange: StoredExchange) -> dict[str, Any]:
    waits = prediction.created_at if prediction.outcome is None else None
    return {
        "id": prediction.id,
        "revision": prediction.revision,
        "state": prediction.state,
        "created_at": prediction.created_at,
        "updated_at": prediction.updated_at,
        **task_columns(prediction.task),
        **note_columns(prediction.label, prediction.note),
        **outcome_columns(prediction.outcome),
        **_FREE,
        "claims": 0,
        "queued_at": waits,
        "run_after": waits,
        "stored_bytes": sql_bytes.size_of(prediction, exchange),
    }


async def _get(connection: AsyncConnection, prediction_id: str) -> Prediction | None:
    query = select(predictions).where(predictions.c.id == prediction_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else prediction_of(row)


async def _change(
    connection: AsyncConnection, current: Prediction, event: sql_history.Event, changes: dict[str, Any]
) -> Prediction:
    """Write `changes` onto the revision that `current` is; ConflictError when the row has moved on."""
    unchanged = (predictions.c.id == current.id) & (predictions.c.revision == current.revision)
    await sql_history.keep(connection, event, unchanged)
    query = (
        update(predictions)
        .where(unchanged)
        .values(
            **changes,
            revision=current.revision + 1,
            updated_at=max(now_micros(), current.updated_at + 1),
            stored_bytes=sql_history.grown(),
        )
        .returning(predictions)
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise ConflictError
    await sql_history.trim(connection, current.id, current.revision + 1)
    return prediction_of(row)


def _listed() -> Select[Any]:
    def short(column: ColumnElement[Any]) -> ColumnElement[Any]:
        return case((func.length(column) <= LISTED_CHARS, column), else_=case((column.is_(None), null()), else_=""))

    large = {"inputs", "outputs"}
    unread = {"stored_bytes", "trace"}  # they lie behind the large ones
    others = [column for column in predictions.c if column.name not in large | unread]
    return select(*others, *(short(predictions.c[name]).label(name) for name in sorted(large)))


def _conditions(filters: Filter) -> list[ColumnElement[bool]]:
    table = predictions.c
    equal = {
        table.model: filters.model,
        table.label_text: filters.label,
        table.state: filters.state,
        table.upstream: filters.upstream,
    }
    conditions = [column == value for column, value in equal.items() if value is not None]
    if filters.since is not None:
        conditions.append(table.created_at >= filters.since)
    if filters.until is not None:
        conditions.append(table.created_at < filters.until)
    return conditions


async def _first_beyond(connection: AsyncConnection, max_rows: int) -> str | None:
    """The newest id that a bound of `max_rows` leaves no room for."""
    query = select(predictions.c.id).order_by(predictions.c.id.desc()).offset(max_rows).limit(1)
    return (await connection.execute(query)).scalar_one_or_none()


async def _prunable(connection: AsyncConnection, oldest: int, last: str | None) -> list[str]:
    table = predictions.c
    surplus = table.created_at < oldest
    if last is not None:
        surplus = surplus | (table.id <= last)
    query = select(table.id).where(table.state.in_(_FINAL), surplus).order_by(table.id).limit(_PRUNED_AT_ONCE)
    return list((await connection.execute(query)).scalars())
