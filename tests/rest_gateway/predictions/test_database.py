"""Migrations, bounds on rows, and a database that goes away."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from crossover.rest_gateway.api.failures import StoreAwayError, as_problem
from crossover.rest_gateway.predictions.database import Database, DatabaseError
from crossover.rest_gateway.predictions.database import database_url as url_of
from crossover.rest_gateway.predictions.record import Filter, now_micros
from crossover.rest_gateway.predictions.schema import metadata
from crossover.rest_gateway.predictions.sql_store import SqlStore
from crossover.stack.services import free_ports


@pytest.fixture
async def database(options):
    made = Database(url_of(options.database_url, options.data_dir, options.port))
    yield made
    await made.close()


async def test_migrations_make_the_schema(database):
    """What the migrations make is what the code says the tables are."""
    await database.migrate_to("head")
    async with database.writing() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), metadata)
        )
    assert differences == []


async def test_a_new_database_is_what_the_migrations_make(tmp_path):
    """A new database is made at once, without alembic: the same tables and indexes, at the same revision, as by all migrations."""
    made = []
    for name, make in (("at once", Database.migrate), ("by migrations", lambda one: one.migrate_to("head"))):
        one = Database(url_of(None, tmp_path / name, 8080))
        await make(one)
        async with one.reading() as connection:
            made.append(await connection.run_sync(_described))
        await one.close()
    assert made[0] == made[1]
    assert {"predictions", "alembic_version"} <= set(made[0])


def _described(connection):
    """Tables, with their columns, keys and indexes, and the revision."""
    found = inspect(connection)
    tables = {
        name: (
            [{**column, "type": str(column["type"])} for column in found.get_columns(name)],
            found.get_pk_constraint(name),
            found.get_foreign_keys(name),
            sorted(found.get_indexes(name), key=lambda index: index["name"]),
        )
        for name in found.get_table_names()
    }
    return {**tables, "revision": connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()}


async def test_migrating_again_and_together(options, database):
    """Several gateways that start at once on one store all come up, and a second start changes nothing."""
    others = [Database(url_of(options.database_url, options.data_dir, options.port)) for _ in range(3)]
    await asyncio.gather(*(other.migrate() for other in (database, *others)))
    await database.migrate()
    for other in others:
        await other.close()


async def test_a_new_file_is_prepared_by_many_at_once(tmp_path):
    """Gateways that open a new SQLite file at the same moment wait for each other, each time anew."""
    for number in range(10):
        together = [Database(url_of(None, tmp_path / str(number), 8080)) for _ in range(6)]
        await asyncio.gather(*(one.migrate() for one in together))
        for one in together:
            await one.close()


async def test_bounded_rows(start):
    """The oldest finished predictions beyond the bound go; what still waits stays."""
    async with start(workers=0) as gateway:
        waiting = (await gateway.post(headers={"Prefer": "respond-async"})).headers["location"]
        places = [(await gateway.post()).headers["location"] for _ in range(6)]
        store = SqlStore(Database(url_of(gateway.options.database_url, gateway.options.data_dir, gateway.options.port)))
        assert await store.prune(3, 0, 0) == 3
        statuses = [(await gateway.client.get(place)).status_code for place in (waiting, *places)]
        assert statuses == [200, 404, 404, 404, 200, 200, 200]
        assert await store.prune(0, now_micros(), 0) == 3
        assert [item.state for item in await store.page(Filter(), 10, None)] == ["queued"]
        await store.close()


async def test_files_by_port(start, tmp_path):
    """Two gateways on one folder keep a file each."""
    async with start(port=8080, database_url=None) as one, start(port=8081, database_url=None) as two:
        place = (await one.post()).headers["location"]
        assert (await two.client.get(place)).status_code == 404
        assert {path.name for path in (tmp_path / "data").glob("*.sqlite3")} == {
            "predictions-8080.sqlite3",
            "predictions-8081.sqlite3",
        }


async def test_kept_over_a_restart(start):
    """What was kept is there after the gateway was stopped and started."""
    async with start() as first:
        made = await first.post(label=7)
    async with start() as second:
        assert (await second.client.get(made.headers["location"])).content == made.content


@pytest.mark.parametrize("url", ["mysql://localhost/x", "nonsense", "sqlite:////proc/no/such/file"])
async def test_databases_that_cannot_be_used(tmp_path, url):
    """A URL that cannot be used is one sentence."""
    with pytest.raises(DatabaseError) as error:
        await Database(url_of(url, tmp_path, 1)).migrate()
    assert "\n" not in str(error.value)
    await asyncio.sleep(0.1)  # the driver's thread reports its end to this loop


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_file_that_is_no_database(options):
    """A file that is no database, or was made by a later version, is one sentence."""
    options.data_dir.mkdir()
    (options.data_dir / "predictions-8080.sqlite3").write_bytes(b"this is not a database, it is a text" * 100)
    with pytest.raises(DatabaseError):
        await Database(url_of(None, options.data_dir, 8080)).migrate()


async def test_store_away(tmp_path):
    """A store that cannot be reached is 503 with Retry-After, and tells nothing of where it is."""
    store = SqlStore(Database(url_of(f"sqlite:///{tmp_path}/store", tmp_path, 1)))
    (tmp_path / "store").unlink(missing_ok=True)
    (tmp_path / "store").mkdir()
    with pytest.raises(StoreAwayError) as error:
        await store.get("x")
    problem = as_problem(error.value)
    assert (problem.status, problem.code.name, "Retry-After" in problem.headers) == (503, "UNAVAILABLE", True)
    assert str(tmp_path) not in problem.detail
    await asyncio.sleep(0.1)  # the driver's thread reports its end to this loop


@pytest.mark.parametrize("start", ["first", "second"])
async def test_a_new_and_an_up_to_date_database_need_no_migrations(tmp_path, start):
    """The library that migrates is loaded neither for the first start, on a new database, nor for later ones."""
    if start == "second":
        first = Database(url_of(None, tmp_path, 1))
        await first.migrate()
        await first.close()
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from crossover.rest_gateway.predictions.database import Database, database_url\n"
        "async def start():\n"
        "    database = Database(database_url(None, Path(sys.argv[1]), 1))\n"
        "    await database.migrate()\n"
        "    await database.close()\n"
        "asyncio.run(start())\n"
        "print('alembic' in sys.modules)\n"
    )
    told = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:hidden@host:port/db", "is not a database URL"),
        ("postgresql://me:hidden@[::1/db", "is not a database URL"),
        ("mysql://me:hidden@host/db", "names 'mysql'"),
        ("hidden", "is not a database URL"),
        ("postgresql://me:hidden@host/db?connect_timeout=3", "has the option 'connect_timeout'; it takes ssl, host"),
    ],
)
def test_a_url_that_is_none_is_one_sentence_without_its_password(tmp_path, url, said):
    """Whatever is wrong with it."""
    with pytest.raises(DatabaseError) as error:
        url_of(url, tmp_path, 1)
    assert said in str(error.value)
    assert "hidden" not in str(error.value)


def test_sslmode_is_ssl(tmp_path):
    """Providers write what libpq takes."""
    assert dict(url_of("postgres://host/db?sslmode=require", tmp_path, 1).query) == {"ssl": "require"}


async def test_an_options_password_is_not_told(tmp_path):
    """libpq takes a password in the query, too."""
    (port,) = free_ports(1)
    pytest.importorskip("asyncpg")
    database = Database(url_of(f"postgresql://me@127.0.0.1:{port}/db?password=hidden", tmp_path, 1))
    with pytest.raises(DatabaseError, match="cannot open the database") as error:
        await database.migrate()
    await database.close()
    assert "hidden" not in str(error.value)
