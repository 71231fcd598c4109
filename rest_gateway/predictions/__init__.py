"""Predictions as REST resources: stored, listed, labelled, run again, run later; and the models they are made with."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from crossover.rest_gateway.api import routing
from crossover.rest_gateway.api.catalog import Catalog
from crossover.rest_gateway.predictions import routes
from crossover.rest_gateway.predictions.callers import Calls
from crossover.rest_gateway.predictions.changing import Changing
from crossover.rest_gateway.predictions.creating import Creating
from crossover.rest_gateway.predictions.database import Database, DatabaseError, database_url
from crossover.rest_gateway.predictions.models import Models
from crossover.rest_gateway.predictions.options import PredictionOptions
from crossover.rest_gateway.predictions.reading import Reading
from crossover.rest_gateway.predictions.running import Runner
from crossover.rest_gateway.predictions.sql_store import SqlStore
from crossover.rest_gateway.predictions.workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from fastapi import FastAPI

    from crossover.rest_gateway.predictions.running import UpstreamLookup
    from crossover.rest_gateway.settings import GatewaySettings
    from crossover.service.tracing import Tracer

__all__ = ["DatabaseError", "PredictionOptions", "install", "install_with", "prepare"]


async def prepare(settings: GatewaySettings) -> None:
    """Open the database and bring it up to date before anything listens; DatabaseError, one sentence, if it cannot be."""
    options = PredictionOptions.of(settings)
    database = Database(database_url(options.database_url, options.data_dir, options.port))
    try:
        await database.migrate()
    finally:
        await database.close()


def install(
    app: FastAPI, upstreams: UpstreamLookup, settings: GatewaySettings, tracer: Tracer | None = None
) -> AbstractAsyncContextManager[None]:
    """Add the resources to `app`. Enter what is returned while the app serves: it migrates, and runs the queue.

    DatabaseError, one sentence, when the database cannot be used.
    """
    return install_with(app, upstreams, PredictionOptions.of(settings), tracer)


def install_with(
    app: FastAPI, upstreams: UpstreamLookup, options: PredictionOptions, tracer: Tracer | None = None
) -> AbstractAsyncContextManager[None]:
    """`install` with options of one's own."""
    database = Database(database_url(options.database_url, options.data_dir, options.port))
    store = SqlStore(database, options.max_bytes)
    owner = secrets.token_hex(16)
    catalog = Catalog(options.model_repository)
    runner = Runner(upstreams, catalog)
    calls = Calls(upstreams, options.upstream_choice, options.default_timeout_ms)
    workers = Workers(store, runner, owner, options, tracer)
    resources = routes.build(
        Reading(store),
        Creating(store, runner, workers, calls, owner, options),
        Changing(store, runner, workers, calls, options),
        Models(calls, catalog, runner, options),
    )
    routing.finish(app, [resources])

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        try:
            await database.migrate()
            await workers.start()
            try:
                yield
            finally:
                await workers.stop()
        finally:
            await store.close()

    return lifespan()
