"""Idempotency keys: reserved under a lease while the first request runs, then bound to what it made."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import delete, select, update

from crossover.rest_gateway.predictions import sql_clock
from crossover.rest_gateway.predictions.record import now_micros
from crossover.rest_gateway.predictions.rows import loaded
from crossover.rest_gateway.predictions.schema import idempotency_keys
from crossover.rest_gateway.predictions.store import ConflictError, KeyUse, StoredReply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from crossover.rest_gateway.predictions.store import KeyHold

_TABLE = idempotency_keys.c


async def reserve(connection: AsyncConnection, key: str, fingerprint: str, owner: str, lease_seconds: float) -> KeyUse:
    """Reserve a key that is new or whose first request died; otherwise what is known of it."""
    lease = sql_clock.later(connection, lease_seconds)
    fresh = {"key": key, "fingerprint": fingerprint, "owner": owner, "lease_until": lease, "created_at": now_micros()}
    # the engine has loaded its dialect; the other one's is 2 MB of memory
    insert = import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert
    if (await connection.execute(insert(idempotency_keys).values(fresh).on_conflict_do_nothing())).rowcount:
        return KeyUse()
    takeover = (
        update(idempotency_keys)
        .where(_TABLE.key == key, _TABLE.fingerprint == fingerprint, _TABLE.reply.is_(None))
        .where(_TABLE.lease_until < sql_clock.now(connection))
        .values(owner=owner, lease_until=lease)
    )
    if (await connection.execute(takeover)).rowcount:
        return KeyUse()
    row = (await connection.execute(select(idempotency_keys).where(_TABLE.key == key))).mappings().one()
    reply = loaded(row["reply"])
    return KeyUse(row["fingerprint"], None if reply is None else StoredReply(tuple(reply["ids"]), reply["beside"]))


async def bind(connection: AsyncConnection, hold: KeyHold, prediction_ids: Sequence[str]) -> None:
    """Bind a reserved key; ConflictError when somebody else has taken it over."""
    reply = orjson.dumps({"ids": prediction_ids, "beside": hold.beside}).decode()
    values = {"reply": reply, "owner": None, "lease_until": None}
    query = update(idempotency_keys).where(_TABLE.key == hold.key, _reserved_by(hold.owner)).values(values)
    if not (await connection.execute(query)).rowcount:
        raise ConflictError


async def renew(connection: AsyncConnection, owner: str, lease_seconds: float) -> None:
    lease = sql_clock.later(connection, lease_seconds)
    await connection.execute(update(idempotency_keys).where(_reserved_by(owner)).values(lease_until=lease))


async def mend(connection: AsyncConnection, lease_seconds: float) -> None:
    """See sql_queue.mend."""
    held = _TABLE.reply.is_(None) & (_TABLE.lease_until > sql_clock.later(connection, max(60.0, 3 * lease_seconds)))
    await connection.execute(
        update(idempotency_keys).where(held).values(lease_until=sql_clock.later(connection, lease_seconds))
    )


async def free(connection: AsyncConnection, key: str, owner: str) -> None:
    await connection.execute(delete(idempotency_keys).where(_TABLE.key == key, _reserved_by(owner)))


async def release(connection: AsyncConnection, owner: str) -> None:
    await connection.execute(delete(idempotency_keys).where(_reserved_by(owner)))


def _reserved_by(owner: str) -> ColumnElement[bool]:
    return (_TABLE.owner == owner) & _TABLE.reply.is_(None)
