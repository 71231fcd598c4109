"""Predictions as REST resources: stored, listed, labelled, run again, run later; and the models they are made with."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from crossover.rest_gateway.api.catalog import Catalog
from crossover.rest_gateway.predictions.callers import Calls
from crossover.rest_gateway.predictions.database import Database, DatabaseError, database_url
from crossover.rest_gateway.predictions.options import PredictionOptions
from crossover.rest_gateway.predictions.running import Runner
from crossover.rest_gateway.predictions.sql_store import SqlStore
from crossover.rest_gateway.predictions.workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from crossover.rest_gateway.predictions.running import UpstreamLookup
    from crossover.rest_gateway.settings import GatewaySettings
    from crossover.service.tracing import Tracer

__all__ = ["DatabaseError", "PredictionOptions", "Predictions", "prepare"]


async def prepare(settings: GatewaySettings) -> None:
    """Open the database and bring it up to date before anything listens; DatabaseError, one sentence, if it cannot be."""
    options = PredictionOptions.of(settings)
    database = Database(database_url(options.database_url, options.data_dir, options.port))
    try:
        await database.migrate()
    finally:
        await database.close()


class Predictions:
    """The store, and the workers of its queue, which do without FastAPI; `install` adds the resources to an application."""

    def __init__(self, upstreams: UpstreamLookup, options: PredictionOptions, tracer: Tracer | None = None) -> None:
        """DatabaseError, one sentence, when the database cannot be used."""
        self._options = options
        self._database = Database(database_url(options.database_url, options.data_dir, options.port))
        self._store = SqlStore(self._database, options.max_bytes)
        self._owner = secrets.token_hex(16)
        self._catalog = Catalog(options.model_repository)
        self._runner = Runner(upstreams, self._catalog)
        self._calls = Calls(upstreams, options.upstream_choice, options.default_timeout_ms)
        self._workers = Workers(self._store, self._runner, self._owner, options, tracer)

    def install(self, app: FastAPI) -> None:
        """Add the resources to `app`, to be served while they are `running`."""
        from crossover.rest_gateway.api import routing
        from crossover.rest_gateway.predictions import routes
        from crossover.rest_gateway.predictions.changing import Changing
        from crossover.rest_gateway.predictions.creating import Creating
        from crossover.rest_gateway.predictions.models import Models
        from crossover.rest_gateway.predictions.reading import Reading

        store, runner, workers, calls, options = (
            self._store, self._runner, self._workers, self._calls, self._options
        )  # fmt: skip
        resources = routes.build(
            Reading(store),
            Creating(store, runner, workers, calls, self._owner, options),
            Changing(store, runner, workers, calls, options),
            Models(calls, self._catalog, runner, options),
        )
        routing.finish(app, [resources])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Migrate, and run the queue."""
        try:
            await self._database.migrate()
            await self._workers.start()
            try:
                yield
            finally:
                await self._workers.stop()
        finally:
            await self._store.close()
