"""`python -m rest_gateway migrate [REVISION]`: bring the database up to this code, or back to what an older release needs."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from crossover.rest_gateway.predictions import PredictionOptions
from crossover.rest_gateway.predictions.database import Database, DatabaseError, database_url
from crossover.rest_gateway.settings import GatewaySettings
from crossover.service import settings

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str], program: str) -> int:
    """0, or 2 with one sentence. The first argument may be a revision, `head` (the default) or `base`; then come settings."""
    named = arguments[:1] if arguments and not arguments[0].startswith("-") else []
    chosen = settings.load(GatewaySettings, program, arguments[len(named) :])
    try:
        before, after = asyncio.run(_migrated(PredictionOptions.of(chosen), named[0] if named else "head"))
    except DatabaseError as error:
        print(str(error), file=sys.stderr)
        return 2
    print(f"the database is at revision {after}" + (f"; it was at {before}" if before != after else ""))
    return 0


async def _migrated(options: PredictionOptions, revision: str) -> tuple[str, str]:
    database = Database(database_url(options.database_url, options.data_dir, options.port))
    try:
        return await database.migrate_to(revision)
    finally:
        await database.close()
