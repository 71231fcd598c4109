"""An engine over a repository of the test's own."""

from __future__ import annotations

import contextlib

import pytest

from crossover.model_server.engine import Engine
from crossover.model_server.executor import Executor
from crossover.model_server.repository import Repository
from crossover.model_server.runtime_options import RuntimeOptions


@contextlib.asynccontextmanager
async def serving(path, options=None):
    """A started engine over `path`, closed at the end."""
    engine = Engine(Repository(path, "explicit", options=options or RuntimeOptions()), Executor())
    await engine.repository.start()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture
async def digits_engine(root):
    """The committed models, with `digits` loaded."""
    async with serving(root / "models") as engine:
        await engine.repository.load("digits", {})
        yield engine
