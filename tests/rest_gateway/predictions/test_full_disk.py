"""No room for more predictions: a true answer, one line a minute in the log."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import text

from crossover.rest_gateway.api import failures
from crossover.rest_gateway.api.failures import StoreAwayError, StoreFullError, as_problem
from crossover.rest_gateway.predictions.database import Database, database_url


async def fill(database):
    async with database.writing() as connection:
        await connection.execute(text("PRAGMA max_page_count=8"))
        await connection.execute(text("INSERT INTO kept VALUES (zeroblob(1000000))"))


async def test_a_database_without_room_says_so(tmp_path):
    """SQLite's own word for a full disk, met as a limit on its pages, becomes StoreFullError; reading goes on."""
    database = Database(database_url("", tmp_path, 1))
    try:
        async with database.writing() as connection:
            await connection.execute(text("CREATE TABLE kept (content BLOB)"))
        with pytest.raises(StoreFullError):
            await fill(database)
        async with database.reading() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM kept"))).scalar() == 0
    finally:
        await database.close()


def test_the_answer_is_507_and_the_log_has_one_line_a_minute(caplog, monkeypatch):
    """However many requests meet it; a store that is away for another reason stays 503."""
    monkeypatch.setattr(failures, "_told_at", -1e9)
    with caplog.at_level(logging.WARNING):
        problems = [as_problem(StoreFullError("database or disk is full")) for _ in range(100)]
    assert {problem.status for problem in problems} == {507}
    assert "make room in DATA_DIR" in problems[0].detail
    assert len(caplog.records) == 1
    assert as_problem(StoreAwayError("locked")).status == 503
