"""The database behind the store: SQLite in a file or PostgreSQL, its transactions, and its migrations.

SQLite runs in WAL mode with `synchronous=NORMAL`: a committed transaction is in the kernel's hands, so killing the
process (SIGKILL) loses nothing; losing power may lose the last commits, never the file's consistency. Write
transactions begin as BEGIN IMMEDIATE, because a transaction that first reads and then writes cannot wait for the lock.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from crossover.rest_gateway.api.failures import StoreAwayError, StoreDamagedError, StoreFullError
from crossover.rest_gateway.predictions import revisions
from crossover.service.settings import user_data

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_BUSY_SECONDS = 10
_WRITER_SECONDS = 10.0
"""How long a write waits for those before it, of one process: each may wait _BUSY_SECONDS for another process's."""
RESERVE_BYTES = 2 << 20
"""Set aside beside a SQLite file and given up when the disk is full: to delete needs room in the journal."""
_MIGRATION_LOCK = 0x63726F73
"""PostgreSQL's advisory lock: of several gateways that start at once, one migrates."""
_POSTGRESQL_OPTIONS = (
    "ssl", "host", "port", "user", "password", "passfile", "service", "servicefile", "target_session_attrs", "krbsrvname",
    "gsslib", "prepared_statement_cache_size",
)  # fmt: skip
"""Those whose values are text for asyncpg."""
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}


class DatabaseError(ValueError):
    """The database cannot be used; one sentence for whoever starts the gateway."""


def database_url(configured: str | None, data_dir: Path, port: int) -> URL:
    """The setting's URL with an asynchronous driver, or a SQLite file of this gateway's own in `data_dir`."""
    if not configured:
        return URL.create("sqlite+aiosqlite", database=str(data_dir / f"predictions-{port}.sqlite3"))
    try:
        url = make_url(configured)
    except (ArgumentError, ValueError):  # the second for a port that is no number
        raise DatabaseError(
            "DATABASE_URL is not a database URL; write it as postgresql+asyncpg://user:password@host:5432/name"
        ) from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise DatabaseError(f"DATABASE_URL names '{url.drivername}'; use postgresql+asyncpg or sqlite+aiosqlite")
    url = url.set(drivername=driver)
    return url if url.get_backend_name() == "sqlite" else _with_options(url)


def _with_options(url: URL) -> URL:
    """The options of a PostgreSQL URL as asyncpg names them: `sslmode`, which everybody else writes, is its `ssl`."""
    options = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    for name in options:
        if name not in _POSTGRESQL_OPTIONS:
            raise DatabaseError(f"DATABASE_URL has the option '{name[:80]}'; it takes {', '.join(_POSTGRESQL_OPTIONS)}")
    return url.set(query=options)


class Database:
    """An engine with transactions for reading and for writing. SQLite's writers of one process queue up here."""

    def __init__(self, url: URL) -> None:
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._shown = url.set(query={}).render_as_string(hide_password=True)  # an option may be a password, too
        self._engine = _engine(url, self.is_sqlite)
        self._one_writer = asyncio.Lock()
        self._reserve = Path(f"{url.database}-reserve") if self.is_sqlite and _is_a_file(url) else None

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads; StoreAwayError when the database cannot be reached."""
        async with _translated(), self._engine.connect() as connection:
            await connection.execution_options(crossover_reads=True)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits at its end; StoreAwayError when the database cannot be reached."""
        if self.is_sqlite:
            try:
                await asyncio.wait_for(self._one_writer.acquire(), _WRITER_SECONDS)
            except TimeoutError:
                raise StoreAwayError("the database is locked by another process") from None
            try:
                async with _translated(), self._engine.begin() as connection:
                    yield connection
            finally:
                self._one_writer.release()
        else:
            async with _translated(), self._engine.begin() as connection:
                yield connection

    async def migrate(self) -> None:
        """Bring the tables up to this code; DatabaseError with one sentence when that cannot be done."""
        async with self._migrating() as connection:
            if not await connection.run_sync(revisions.are_due):
                return
            if await connection.run_sync(revisions.is_empty):
                await connection.run_sync(revisions.make_newest)
            else:
                await self._migrated(connection, "head")

    async def migrate_to(self, revision: str) -> tuple[str, str]:
        """Bring the tables up, or back, to a revision; the revisions before and after. DatabaseError as above."""
        async with self._migrating() as connection:
            return await self._migrated(connection, revision)

    @asynccontextmanager
    async def _migrating(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that no other gateway's migration runs beside."""
        try:
            async with self.writing() as connection:
                if not self.is_sqlite:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                yield connection
        except StoreAwayError as error:
            raise DatabaseError(f"cannot open the database {self._shown}: {error}") from None
        except DBAPIError as error:
            raise DatabaseError(f"cannot use the database {self._shown}: {_first_line(error.orig)}") from None

    async def _migrated(self, connection: AsyncConnection, revision: str) -> tuple[str, str]:
        from crossover.rest_gateway.predictions import migrating

        try:
            return await connection.run_sync(migrating.migrate, revision)
        except migrating.MigrationError as error:
            raise DatabaseError(f"the database {self._shown} does not fit this version: {error}") from None

    async def close(self) -> None:
        await self._engine.dispose()

    def give_up_reserve(self) -> bool:
        """Make room on a full disk for what deletes; False where there is none to give up."""
        if self._reserve is None or not self._reserve.exists():
            return False
        self._reserve.unlink(missing_ok=True)
        return True

    def keep_reserve(self) -> None:
        """Set the reserve aside, if it is not there and the disk has room for it."""
        if self._reserve is None or self._reserve.exists():
            return
        try:
            fd = os.open(self._reserve, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, RESERVE_BYTES)
            finally:
                os.close(fd)
        except OSError:
            self._reserve.unlink(missing_ok=True)

    async def give_back(self) -> None:
        """Let the disk have what SQLite's journal has taken, as far as nobody reads it."""
        if self.is_sqlite:
            async with _translated(), self._engine.connect() as connection:
                driver = await connection.get_raw_connection()
                await driver.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]


def _engine(url: URL, is_sqlite: bool) -> AsyncEngine:
    try:
        if not is_sqlite:
            return create_async_engine(url, pool_pre_ping=True, pool_size=10, pool_timeout=10)
        if _is_a_file(url):
            make_private(Path(str(url.database)))
        engine = create_async_engine(url, connect_args={"timeout": _BUSY_SECONDS}, pool_timeout=30)
    except ModuleNotFoundError as error:
        raise DatabaseError(
            f"DATABASE_URL needs the package '{error.name}'; install requirements/postgres.txt beside serve.txt"
        ) from None
    except OSError as error:
        raise DatabaseError(f"cannot make the folder of {url.database}: {error.strerror}; set DATA_DIR") from None
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _is_a_file(url: URL) -> bool:
    return bool(url.database) and url.database != ":memory:"


def make_private(file: Path) -> None:
    """Let the owner alone read the database: the file is 0600, and SQLite gives its journals the file's mode; a folder that is
    made for it is 0700. Files of an earlier version are changed too; a folder that was there belongs to somebody's choice,
    unless it is our default.
    """
    folder = file.parent
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
    elif folder == user_data() and folder.stat().st_uid == os.geteuid():
        folder.chmod(0o700)
    os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    for each in (file, *(file.with_name(file.name + end) for end in ("-wal", "-shm", "-journal"))):
        with suppress(FileNotFoundError):
            if each.stat().st_mode & 0o077:
                each.chmod(0o600)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin by the listener below, not by the driver's guess
    try:
        connection.run_async(_set_journal)
    except Exception:
        connection.close()  # the pool never learns of it, and its thread would live on
        raise


async def _set_journal(driver: Any) -> None:
    """WAL; who finds another connection at the same change is told "locked" at once, whatever its timeout, and asks again."""
    until = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            await driver.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            await asyncio.sleep(0.01)
    await driver.execute("PRAGMA synchronous=NORMAL")


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("crossover_reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Failures to reach the database as StoreAwayError; failures of our own statements stay what they are."""
    try:
        yield
    except PoolTimeoutError as error:
        raise StoreAwayError("no connection became free in time") from error
    except DBAPIError as error:
        reason = _first_line(error.orig)
        if any(phrase in reason.lower() for phrase in _DAMAGED):
            raise StoreDamagedError(reason) from error
        if _is_away(error):
            raise _away(reason) from error
        raise
    except (OSError, TimeoutError) as error:
        raise _away(_first_line(error)) from error


_AWAY_STATES = ("08", "25006", "28", "3D", "40", "53", "57", "58")
"""What SQLSTATE begins with where PostgreSQL cannot serve now: it starts, stops, recovers, lacks something, or lets nobody in."""


def _is_away(error: DBAPIError) -> bool:
    """Whether the database failed, and not our statement."""
    if error.connection_invalidated or type(error).__name__ in {"OperationalError", "InterfaceError"}:
        return True
    return str(getattr(error.orig, "sqlstate", None) or "").startswith(_AWAY_STATES)


_DAMAGED = ("malformed", "not a database", "invalid page", "could not read block", "missing chunk", "corrupted")
"""SQLite's and PostgreSQL's words for a database that is there and cannot be read."""


def _away(reason: str) -> StoreAwayError:
    """SQLite, PostgreSQL and the kernel each have a phrase for a disk without room."""
    full = any(phrase in reason.lower() for phrase in ("disk is full", "no space left", "quota exceeded"))
    return StoreFullError(reason) if full else StoreAwayError(reason)


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
