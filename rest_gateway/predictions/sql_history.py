"""Earlier revisions of predictions. Every statement that raises `revision` first keeps the row that it changes.

A prediction that never changes has no rows here, so creating one costs nothing more. `event` is what ended the revision of
its row: how the next one came about.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import case, delete, func, insert, literal, select

from crossover.rest_gateway.predictions.record import Revision, State
from crossover.rest_gateway.predictions.rows import loaded
from crossover.rest_gateway.predictions.schema import history, predictions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from crossover.rest_gateway.predictions.record import Prediction

KEPT = 50
"""So many earlier revisions of one prediction are kept, the newest ones."""
NOTE_CHARS = 200
"""So much of an earlier note is kept."""
ROW_BYTES = 256
"""About what an earlier revision takes in the database."""
_TABLE = predictions.c
_COLUMNS = ("state", "upstream", "version", "label", "answer_label")


class Event(StrEnum):
    """How a revision came about."""

    CREATED = "created"
    EDITED = "edited"
    REPLACED = "replaced"
    STARTED = "started"
    FINISHED = "finished"
    POSTPONED = "postponed"
    RELEASED = "released"


async def keep(connection: AsyncConnection, event: Event, which: ColumnElement[bool]) -> None:
    """Copy the rows that `event` is about to change, in its transaction.

    The rows are locked (PostgreSQL), so that of two changes at once the second finds that its condition no longer holds.
    """
    current = select(
        _TABLE.id, _TABLE.revision, literal(event.value), _TABLE.updated_at, *(_TABLE[name] for name in _COLUMNS),
        func.substr(_TABLE.note, 1, NOTE_CHARS),
    ).where(which).with_for_update()  # fmt: skip
    names = ["prediction_id", "revision", "event", "at", *_COLUMNS, "note"]
    await connection.execute(insert(history).from_select(names, current))


async def trim(connection: AsyncConnection, prediction_id: str, revision: int) -> None:
    """Forget what lies further back than `KEPT` revisions before `revision`."""
    if revision > KEPT + 1:
        old = (history.c.prediction_id == prediction_id) & (history.c.revision < revision - KEPT)
        await connection.execute(delete(history).where(old))


async def forget(connection: AsyncConnection, prediction_ids: Sequence[str] | Select[Any]) -> None:
    await connection.execute(delete(history).where(history.c.prediction_id.in_(prediction_ids)))


async def of(connection: AsyncConnection, current: Prediction) -> list[Revision]:
    """All known revisions, the current one first; the oldest has no event where older ones are forgotten."""
    query = select(history).where(history.c.prediction_id == current.id).order_by(history.c.revision.desc())
    rows = (await connection.execute(query)).mappings().all()
    events = [row["event"] for row in rows]
    oldest = rows[-1]["revision"] if rows else current.revision
    events.append(Event.CREATED if oldest == 1 else None)
    answer = current.outcome.answer if current.outcome else None
    version = current.outcome.version if current.outcome else ""
    note = current.note[:NOTE_CHARS] if current.note else current.note
    return [
        Revision(
            current.revision, events[0], current.updated_at, current.state, current.task.upstream, version or None,
            current.label, note, answer.label if answer else None,
        ),
        *(
            Revision(
                row["revision"], event, row["at"], State(row["state"]), row["upstream"], row["version"],
                loaded(row["label"]), row["note"], row["answer_label"],
            )
            for row, event in zip(rows, events[1:], strict=True)
        ),
    ]  # fmt: skip


def size_of(revision: int) -> int:
    """Bytes of the earlier revisions of a prediction that is at `revision`."""
    return min(revision - 1, KEPT) * ROW_BYTES


def grown() -> ColumnElement[int]:
    """`stored_bytes` of a row whose revision is about to be kept."""
    return case((_TABLE.revision <= KEPT, _TABLE.stored_bytes + ROW_BYTES), else_=_TABLE.stored_bytes)
