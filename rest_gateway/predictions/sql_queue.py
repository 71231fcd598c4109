"""The durable queue: rows that wait, leases on those that run, one stored outcome each.

A worker takes a job by one UPDATE that nobody else can make on the same row. It holds the job until its lease ends and
prolongs the lease while it works; a dead worker's lease ends, and the job is taken up again. Each claim raises
`claims`, and an outcome is stored only by the claim that still holds the row, so there is exactly one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import case, or_, select, update

from crossover.rest_gateway.predictions import sql_clock, sql_history
from crossover.rest_gateway.predictions.record import State, now_micros
from crossover.rest_gateway.predictions.rows import job_of, outcome_columns, state_after
from crossover.rest_gateway.predictions.schema import exchanges, predictions

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from crossover.rest_gateway.predictions.record import Job, Outcome

_TABLE = predictions.c
_IDLE: dict[str, Any] = {"owner": None, "lease_until": None}


async def claim(connection: AsyncConnection, owner: str, lease_seconds: float) -> Job | None:
    moment = sql_clock.now(connection)
    waiting = (_TABLE.state == State.QUEUED) & (_TABLE.run_after <= moment)
    abandoned = (_TABLE.state == State.RUNNING) & (_TABLE.lease_until < moment)
    oldest = (
        select(_TABLE.id)
        .where(or_(waiting, abandoned))
        .order_by(_TABLE.id)
        .limit(1)
        .with_for_update(skip_locked=True)  # PostgreSQL: pass by rows that another gateway is just taking
    )
    prediction_id = (await connection.execute(oldest)).scalar_one_or_none()
    if prediction_id is None:
        return None
    await sql_history.keep(connection, sql_history.Event.STARTED, _TABLE.id == prediction_id)
    query = (
        update(predictions)
        .where(_TABLE.id == prediction_id)
        .values(
            state=State.RUNNING,
            owner=owner,
            lease_until=sql_clock.later(connection, lease_seconds),
            claims=_TABLE.claims + 1,
            crashes=case((_TABLE.state == State.RUNNING, _TABLE.crashes + 1), else_=_TABLE.crashes),
            **_touched(),
        )
        .returning(predictions)
    )
    row = (await connection.execute(query)).mappings().one()
    await sql_history.trim(connection, prediction_id, row["revision"])
    return job_of(row)


async def renew(connection: AsyncConnection, owner: str, lease_seconds: float) -> None:
    lease = sql_clock.later(connection, lease_seconds)
    await connection.execute(update(predictions).where(_running_of(owner)).values(lease_until=lease))


async def finish(
    connection: AsyncConnection, job: Job, owner: str, outcome: Outcome, upstream_exchange: str | None
) -> bool:
    await sql_history.keep(connection, sql_history.Event.FINISHED, _held(job, owner))
    query = (
        update(predictions)
        .where(_held(job, owner))
        .values(state=state_after(outcome), **outcome_columns(outcome), **_IDLE, **_touched())
    )
    if not (await connection.execute(query)).rowcount:
        return False
    values = {"upstream": upstream_exchange}
    await connection.execute(update(exchanges).where(exchanges.c.prediction_id == job.id).values(values))
    return True


async def postpone(connection: AsyncConnection, job: Job, owner: str, seconds: float) -> None:
    await sql_history.keep(connection, sql_history.Event.POSTPONED, _held(job, owner))
    values = {"state": State.QUEUED, "run_after": sql_clock.later(connection, seconds)}
    await connection.execute(update(predictions).where(_held(job, owner)).values(**values, **_IDLE, **_touched()))


async def release(connection: AsyncConnection, owner: str) -> None:
    await sql_history.keep(connection, sql_history.Event.RELEASED, _running_of(owner))
    values = {"state": State.QUEUED, **_IDLE, **_touched()}
    await connection.execute(update(predictions).where(_running_of(owner)).values(**values))


LONGEST_PAUSE = 30.0
"""Seconds beyond which no job is put off."""
LONGEST_LEASE = 60.0
"""Seconds that a lease may lie ahead on other gateways' account; three times one's own where that is more."""


async def mend(connection: AsyncConnection, lease_seconds: float) -> None:
    """After a clock was set back, what was put off or leased by the old time would wait for hours: it is due now."""
    moment = sql_clock.now(connection)
    waits = (_TABLE.state == State.QUEUED) & (_TABLE.run_after > sql_clock.later(connection, LONGEST_PAUSE))
    await connection.execute(update(predictions).where(waits).values(run_after=moment))
    longest = max(LONGEST_LEASE, 3 * lease_seconds)
    held = (_TABLE.state == State.RUNNING) & (_TABLE.lease_until > sql_clock.later(connection, longest))
    await connection.execute(
        update(predictions).where(held).values(lease_until=sql_clock.later(connection, lease_seconds))
    )


def _running_of(owner: str) -> ColumnElement[bool]:
    return (_TABLE.state == State.RUNNING) & (_TABLE.owner == owner)


def _held(job: Job, owner: str) -> ColumnElement[bool]:
    return (_TABLE.id == job.id) & _running_of(owner) & (_TABLE.claims == job.claim)


def _touched() -> dict[str, Any]:
    return {"revision": _TABLE.revision + 1, "updated_at": now_micros(), "stored_bytes": sql_history.grown()}
