"""Every release's database goes up to this code and back again, with its rows, on SQLite and on PostgreSQL."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from crossover.__main__ import main
from crossover.rest_gateway.predictions import migrating
from crossover.rest_gateway.predictions.database import Database
from crossover.rest_gateway.predictions.database import database_url as url_of
from crossover.rest_gateway.predictions.revisions import MIGRATIONS, newest
from tests.programs import called

RELEASED = sorted((Path(__file__).parent / "released").glob("*.sql"))
"""Databases as releases left them: the revision in the first line, then one INSERT a row."""
LATER = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "9999", "{before}", None, None

def upgrade():
    op.add_column("predictions", sa.Column("colour", sa.Text, nullable=False, server_default="blue"))
    op.create_index("predictions_by_colour", "predictions", ["colour", "id"])

def downgrade():
    op.drop_index("predictions_by_colour", "predictions")
    op.drop_column("predictions", "colour")
"""


def read(file: Path) -> tuple[str, list[str]]:
    first, *rows = file.read_text("utf-8").splitlines()
    return first.removeprefix("-- revision "), [row for row in rows if row]


@pytest.fixture
async def database(options):
    made = Database(url_of(options.database_url, options.data_dir, options.port))
    yield made
    await made.migrate_to("head")
    await made.close()


async def rows_of(database: Database) -> dict[str, list[tuple]]:
    """Every row of every table but alembic's own."""
    async with database.reading() as connection:
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
        return {
            name: sorted(tuple(row) for row in (await connection.execute(text(f"SELECT * FROM {name}"))).all())
            for name in names if name != "alembic_version"
        }  # fmt: skip


async def fill(database: Database, rows: list[str]) -> None:
    async with database.writing() as connection:
        for row in rows:
            await connection.exec_driver_sql(row)


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: file.stem)
async def test_a_releases_rows_go_up_and_back(database, start, file):
    """After up and down the rows are what they were; after up again this code serves each of them."""
    revision, rows = read(file)
    await database.migrate_to("base")
    await database.migrate_to(revision)
    await fill(database, rows)
    before = await rows_of(database)
    assert before["predictions"] and before["exchanges"] and before["idempotency_keys"]
    assert await database.migrate_to("head") == (revision, newest())
    assert await database.migrate_to(revision) == (newest(), revision)
    assert await rows_of(database) == before
    async with start() as gateway:
        listed = (await gateway.client.get("/api/predictions")).json()["predictions"]
        assert len(listed) == len(before["predictions"])
        for each in listed:
            assert (await gateway.client.get(each["links"]["self"])).status_code == 200
            assert (await gateway.client.get(f"{each['links']['self']}/exchange")).status_code == 200


async def test_a_release_to_come(database, tmp_path):
    """A later revision adds to the tables; going back takes that away and leaves the rest (this is what the test above does)."""
    later = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, later, ignore=shutil.ignore_patterns("__pycache__"))
    (later / "versions" / "9999_colour.py").write_text(LATER.format(before=newest()))
    await database.migrate_to("base")
    await database.migrate_to("head")
    await fill(database, read(RELEASED[-1])[1])
    before = await rows_of(database)
    for revision, colours in (("9999", {"blue"}), (newest(), None)):
        async with database.writing() as connection:
            await connection.run_sync(migrating.migrate, revision, later)
        now = await rows_of(database)
        if colours is not None:
            assert {row[-1] for row in now["predictions"]} == colours
    assert now == before


def test_every_revision_can_be_taken_back():
    """Each migration has a way down, and the newest release's database is in the tests."""
    for file in (MIGRATIONS / "versions").glob("[0-9]*_*.py"):
        ways = {node.name: node.body for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
        assert {"upgrade", "downgrade"} <= ways.keys(), file.name
        assert not all(isinstance(each, ast.Pass) for each in ways["downgrade"]), file.name
    assert RELEASED


def test_the_command(tmp_path):
    """`crossover migrate` goes up and back and says so; a revision that there is not is one sentence and exit code 2."""

    def run(*arguments: str) -> tuple[int, str]:
        done = called(main, "migrate", *arguments, environment={"DATA_DIR": str(tmp_path)})
        return done.returncode, (done.stdout + done.stderr).strip()

    assert run() == (0, f"the database is at revision {newest()}; it was at base")
    assert run("head") == (0, f"the database is at revision {newest()}")
    assert run("base") == (0, f"the database is at revision base; it was at {newest()}")
    code, said = run("4711")
    assert code == 2 and "4711" in said and "\n" not in said
