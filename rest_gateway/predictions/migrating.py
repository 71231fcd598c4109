"""Runs the migrations. Imported only where some are due: alembic and what it needs are 11 MB of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

from crossover.rest_gateway.predictions.revisions import MIGRATIONS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class MigrationError(RuntimeError):
    """The tables are not of a kind that these migrations know, in one sentence."""


def upgrade(connection: Connection) -> None:
    """Bring the tables up to this code, in the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise MigrationError(str(error)) from None
