"""Runs the migrations. Imported only where some are due: alembic and what it needs are 11 MB of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError

from crossover.rest_gateway.predictions.revisions import MIGRATIONS

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.engine import Connection


class MigrationError(RuntimeError):
    """The tables are not of a kind that these migrations know, in one sentence."""


def migrate(connection: Connection, revision: str = "head", migrations: Path = MIGRATIONS) -> tuple[str, str]:
    """Bring the tables up, or back, to a revision, in the connection's transaction; the revisions before and after.

    `head` is what this code needs, `base` is no tables at all.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.attributes["connection"] = connection
    context = MigrationContext.configure(connection)
    before = context.get_current_revision() or "base"
    try:
        if _is_behind(ScriptDirectory.from_config(config), revision, before):
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
    except CommandError as error:
        raise MigrationError(str(error)) from None
    return before, context.get_current_revision() or "base"


def _is_behind(scripts: ScriptDirectory, revision: str, current: str) -> bool:
    """Whether `revision` is among those that led to the current one; CommandError for one that there is not."""
    if revision == "base":
        return True
    script = scripts.get_revision(revision)
    if current == "base" or script is None:
        return False
    led = {each.revision for each in scripts.iterate_revisions(current, "base")}
    return script.revision in led - {current}
