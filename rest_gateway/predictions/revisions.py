"""Which migrations there are, and whether a database has had them all, without the library that runs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

MIGRATIONS = Path(__file__).with_name("migrations")
_TABLE = "alembic_version"


def newest() -> str:
    """The revision that this code needs: files are named `<revision>_<what>.py`, in order."""
    return max(path.stem.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def are_due(connection: Connection) -> bool:
    """Whether the tables are not known to be those of the newest revision."""
    if not inspect(connection).has_table(_TABLE):
        return True
    return connection.execute(text(f"SELECT version_num FROM {_TABLE}")).scalars().all() != [newest()]  # noqa: S608 - a constant
