"""Which migrations there are, whether a database has had them all, and a new one's tables, without the library that runs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

from crossover.rest_gateway.predictions.schema import metadata

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

MIGRATIONS = Path(__file__).with_name("migrations")
_TABLE = "alembic_version"
_MAKE_TABLE = (
    f"CREATE TABLE {_TABLE} (version_num VARCHAR(32) NOT NULL, CONSTRAINT {_TABLE}_pkc PRIMARY KEY (version_num))"
)
"""As alembic makes it."""


def newest() -> str:
    """The revision that this code needs: files are named `<revision>_<what>.py`, in order."""
    return max(path.stem.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def is_empty(connection: Connection) -> bool:
    """Whether the database has no table of ours, of any revision."""
    there = set(inspect(connection).get_table_names())
    return not there & {_TABLE, *metadata.tables}


def make_newest(connection: Connection) -> None:
    """The tables of the newest revision in an empty database, which then needs no migration."""
    metadata.create_all(connection)
    connection.execute(text(_MAKE_TABLE))
    connection.execute(text(f"INSERT INTO {_TABLE} (version_num) VALUES (:newest)"), {"newest": newest()})  # noqa: S608 - a constant


def are_due(connection: Connection) -> bool:
    """Whether the tables are not known to be those of the newest revision."""
    if not inspect(connection).has_table(_TABLE):
        return True
    return connection.execute(text(f"SELECT version_num FROM {_TABLE}")).scalars().all() != [newest()]  # noqa: S608 - a constant
