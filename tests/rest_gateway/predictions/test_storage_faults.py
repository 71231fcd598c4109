"""Disk full, database damaged or locked, PostgreSQL away for a moment, clocks set: a true answer, and nothing acknowledged lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
import sqlite3
import subprocess
import time

import httpx
import pytest
from sqlalchemy.exc import DBAPIError

from crossover.rest_gateway.api import failures
from crossover.rest_gateway.api.failures import StoreAwayError, StoreDamagedError, StoreFullError, as_problem
from crossover.rest_gateway.predictions import database as database_module
from crossover.rest_gateway.predictions import workers as workers_module
from crossover.rest_gateway.predictions.database import RESERVE_BYTES, Database
from crossover.rest_gateway.predictions.database import database_url as url_of
from crossover.rest_gateway.predictions.record import Filter, new_id
from crossover.rest_gateway.predictions.sql_store import SqlStore
from crossover.stack.services import free_ports
from tests.rest_gateway.predictions.test_kill import Process, identity

LATER = {"Prefer": "respond-async"}
sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
postgres_only = pytest.mark.parametrize(
    "database_url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


async def test_what_is_kept_is_bounded_in_bytes(start):
    """PREDICTION_MAX_BYTES: each new prediction makes room by deleting the oldest finished ones; the newest are there."""
    async with start(max_bytes=100_000) as gateway:
        places = [(await gateway.post(note="n" * 2000)).headers["location"] for _ in range(30)]
        statuses = [(await gateway.client.get(place)).status_code for place in places]
        assert statuses[0] == 404
        assert statuses[-8:] == [200] * 8
        store = SqlStore(Database(url_of(gateway.options.database_url, gateway.options.data_dir, 8080)), 100_000)
        kept = await store.page(Filter(), 100, None)
        assert 8 <= len(kept) < 25
        await store.close()


async def test_a_queue_beyond_the_bound_is_507(start):
    """What waits is never deleted: when it alone fills the bound, more is refused with 507, and room can be made."""
    async with start(max_bytes=40_000, workers=0) as gateway:
        answers = [await gateway.post(headers=LATER, note="n" * 2000) for _ in range(12)]
        refused = [answer for answer in answers if answer.status_code != 202]
        assert {answer.status_code for answer in refused} == {507}
        assert "PREDICTION_MAX_BYTES" in refused[0].json()["detail"]
        taken = [answer.headers["location"] for answer in answers if answer.status_code == 202]
        assert len(taken) >= 4
        assert (await gateway.client.delete(taken[0])).status_code == 204
        assert (await gateway.client.delete(taken[1])).status_code == 204
        assert (await gateway.post(headers=LATER, note="n" * 2000)).status_code == 202


@sqlite_only
async def test_a_delete_gives_up_the_reserve(start, monkeypatch):
    """When the disk has no room even for a DELETE's journal, the file that was set aside for it goes, and the DELETE works."""
    async with start() as gateway:
        place = (await gateway.post()).headers["location"]
        reserve = gateway.options.data_dir / "predictions-8080.sqlite3-reserve"
        for _ in range(200):
            if reserve.exists():
                break
            await asyncio.sleep(0.02)
        assert reserve.stat().st_size == RESERVE_BYTES
        assert reserve.stat().st_mode & 0o777 == 0o600
        delete = SqlStore._delete

        async def full(self, prediction_id, revision):
            if reserve.exists():
                raise StoreFullError("database or disk is full")
            return await delete(self, prediction_id, revision)

        monkeypatch.setattr(SqlStore, "_delete", full)
        assert (await gateway.client.delete(place)).status_code == 204
        assert not reserve.exists()


@sqlite_only
async def test_a_damaged_database_says_so(options, start, caplog, monkeypatch):
    """Pages that hold no rows are 503 with the reason, and one line a minute in the log; other paths go on."""
    monkeypatch.setattr(failures, "_told_at", -1e9)
    async with start() as gateway:
        for _ in range(20):
            await gateway.post(note="n" * 2000)
    file = options.data_dir / "predictions-8080.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'predictions'").fetchone()
    content = bytearray(file.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    file.write_bytes(content)
    store = SqlStore(Database(url_of(None, options.data_dir, 8080)))
    with pytest.raises(StoreDamagedError) as caught, caplog.at_level(logging.WARNING):
        await store.page(Filter(), 10, None)
    await store.close()
    problem = as_problem(caught.value)
    assert problem.status == 503
    assert "damaged" in problem.detail


@sqlite_only
async def test_a_locked_database_is_503_and_comes_back(start, options, monkeypatch):
    """While another process holds the write lock, writes are 503 within a bound, reads go on, and afterwards all is well."""
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0.2)
    monkeypatch.setattr(database_module, "_WRITER_SECONDS", 0.5)
    async with start() as gateway:
        place = (await gateway.post()).headers["location"]
        other = sqlite3.connect(options.data_dir / "predictions-8080.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(gateway.post() for _ in range(8)))
        assert {answer.status_code for answer in answers} == {503}
        assert (await gateway.client.get(place)).status_code == 200
        other.execute("ROLLBACK")
        other.close()
        assert (await gateway.post()).status_code == 201


@postgres_only
async def test_connections_that_postgresql_ends(start, postgres_server):
    """PostgreSQL ends every connection, as it does when it restarts: what follows is served or 503, and nothing is lost."""
    import asyncpg

    async with start() as gateway:
        places = [(await gateway.post()).headers["location"] for _ in range(3)]
        admin = await asyncpg.connect(f"{postgres_server}/postgres".replace("+asyncpg", ""))
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = 'postgres'"
        )
        await admin.close()
        answers = [await gateway.post() for _ in range(6)]
        assert {answer.status_code for answer in answers} <= {201, 503}
        assert answers[-1].status_code == 201
        for place in places:
            assert (await gateway.client.get(place)).status_code == 200


@pytest.mark.parametrize(
    ("state", "kind"),
    [("57P03", StoreAwayError), ("57P01", StoreAwayError), ("53300", StoreAwayError), ("25006", StoreAwayError),
     ("08006", StoreAwayError), ("23505", DBAPIError), ("42P01", DBAPIError), (None, DBAPIError)],
)  # fmt: skip
async def test_a_database_that_cannot_serve_now_is_told_from_a_bad_statement(state, kind):
    """PostgreSQL that starts, stops, recovers or has no connection left is 503; what our statement did wrong stays an error."""
    original = Exception("the database system is starting up")
    original.sqlstate = state
    with pytest.raises(kind):
        async with database_module._translated():
            raise DBAPIError("SELECT 1", None, original)


@sqlite_only
async def test_a_clock_that_was_set_back(start, monkeypatch):
    """Jobs that were queued and leased by a later time are done at once, and new predictions are still the newest."""
    async with start(workers=0) as gateway:
        place = (await gateway.post(headers=LATER)).headers["location"]
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 86_400 * 10**9)
    async with start() as gateway:
        await gateway.until(place, "succeeded")
        newer = (await gateway.post()).headers["location"]
        listed = (await gateway.client.get("/api/predictions")).json()["predictions"]
        assert [item["links"]["self"] for item in listed] == [newer, place]


@sqlite_only
async def test_a_clock_that_was_set_forward(start, monkeypatch):
    """A clock that jumps by years deletes nothing for its age."""
    monkeypatch.setattr(workers_module, "PRUNE_SECONDS", 0.05)
    async with start(max_age_days=30.0) as gateway:
        place = (await gateway.post()).headers["location"]
        await asyncio.sleep(0.2)
        ns, seconds = time.time_ns, time.time
        ahead = 400 * 86_400
        monkeypatch.setattr(time, "time_ns", lambda: ns() + ahead * 10**9)
        monkeypatch.setattr(time, "time", lambda: seconds() + ahead)
        await asyncio.sleep(0.4)
        assert (await gateway.client.get(place)).status_code == 200


def test_ids_go_on_behind_the_newest():
    """An id that is made after the clock was set back sorts behind those that are stored."""
    from crossover.rest_gateway.predictions.record import _clock, continue_after

    before = (_clock.millisecond, _clock.counter)
    try:
        ahead = new_id()
        later = f"{int(ahead[:8], 16) + 0x100:08x}{ahead[8:]}"
        continue_after(later)
        assert new_id() > later
    finally:
        _clock.millisecond, _clock.counter = before


@pytest.mark.slow
async def test_a_disk_that_is_full(tmp_path):
    """A real file system of 5 MB: 507 when it is full, predictions and models go on to be read and run, DELETE makes room."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("a file system of one's own needs the right to mount one")
    folder = tmp_path / "small"
    folder.mkdir()
    (port,) = free_ports(1)
    mounted = f"mount -t tmpfs -o size=5m none {folder} && exec .venv/bin/python -m rest_gateway"
    environment = {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
        "GATEWAY_PORT": str(port),
        "GATEWAY_UPSTREAM": "inprocess",
        "DATA_DIR": str(folder),
    }
    log = (tmp_path / "log").open("wb")
    gateway = subprocess.Popen(["unshare", "-m", "sh", "-c", mounted], env=environment, stdout=log, stderr=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            await _ready(client)
            places, answer = [], None
            for number in range(400):
                answer = await client.post("/api/predictions", json={**identity(number), "note": "n" * 1000})
                if answer.status_code != 201:
                    break
                places.append(answer.headers["location"])
            assert answer.status_code == 507, answer.text
            assert (await client.get(places[0])).status_code == 200
            assert (await client.get("/v2/health/ready")).status_code == 200
            body = {"inputs": identity(1)["inputs"]}
            assert (await client.post("/v2/models/identity/infer", json=body)).status_code == 200
            for place in places[: len(places) // 2]:
                assert (await client.delete(place)).status_code == 204
            assert (await client.post("/api/predictions", json=identity(1))).status_code == 201
            for place in places[len(places) // 2 :]:
                assert (await client.get(place)).status_code == 200
        log.flush()
        lines = (tmp_path / "log").read_text().splitlines()
        assert sum("the store of predictions cannot be used" in line for line in lines) == 1
    finally:
        gateway.terminate()
        gateway.wait(20)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


async def _ready(client):
    for _ in range(600):
        try:
            if (await client.get("/v2/health/ready")).status_code == 200:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("the gateway was not ready in time")


class Writers:
    """Four callers that make and accept predictions, each with a key and a label of its own, whatever they are answered."""

    def __init__(self, base: str) -> None:
        self._base = base
        self.acknowledged: dict[str, int] = {}
        """The label of each that was answered with 201 or 202, by its place."""
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._write(1_000_000 * index)) for index in range(1, 5)]

    async def _write(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                async with httpx.AsyncClient(base_url=self._base, timeout=20) as client:
                    while not self._stop.is_set():
                        number += 1
                        headers = {"Idempotency-Key": f"key-{number}", **(LATER if number % 2 else {})}
                        made = await client.post("/api/predictions", json=identity(number), headers=headers)
                        if made.status_code in (201, 202):
                            self.acknowledged[made.headers["location"]] = number
                        else:
                            assert made.status_code == 503, made.text
                            await asyncio.sleep(0.02)
            except httpx.TransportError:
                await asyncio.sleep(0.02)

    async def go_on(self, count: int = 15) -> None:
        """Return when so many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        for _ in range(1200):
            if len(self.acknowledged) >= wanted:
                return
            assert not any(task.done() for task in self._tasks), "a writer was answered with neither 2xx nor 503"
            await asyncio.sleep(0.05)
        raise AssertionError("nothing more is acknowledged")

    async def stop(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


async def kept_once(base: str, acknowledged: dict[str, int]) -> None:
    """Each acknowledged prediction is there, ends well, stays as it is, and none is there twice."""
    async with httpx.AsyncClient(base_url=base, timeout=30) as client:
        found = {}
        for place, number in acknowledged.items():
            for _ in range(600):
                answer = await client.get(place)
                assert answer.status_code == 200, place
                if answer.json()["state"] in ("succeeded", "failed"):
                    break
                await asyncio.sleep(0.05)
            found[place] = answer
            assert answer.json()["state"] == "succeeded", answer.text
            assert answer.json()["label"] == number
        await asyncio.sleep(1.5)
        for place, answer in list(found.items())[-100:]:
            assert (await client.get(place)).content == answer.content
        labels = [made["label"] for made in await _all(client)]
        assert len(labels) == len(set(labels)), "a prediction was kept twice"


@pytest.fixture
async def gateway_process(tmp_path):
    """Starts a gateway as a process over a database; what writes to it is stopped, and so is it."""
    with contextlib.ExitStack() as stack:

        def start(database_url):
            log = stack.enter_context((tmp_path / "log").open("wb"))
            gateway = Process({"DATA_DIR": str(tmp_path), "DATABASE_URL": database_url or ""}, log)
            stack.callback(gateway.stop)
            gateway.start()
            return gateway

        yield start


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_ten_kills_under_load(gateway_process, database_url):
    """SIGKILL ten times while predictions are made and accepted: each acknowledged one is there once, with one outcome."""
    gateway = gateway_process(database_url)
    writers = Writers(gateway.base)
    for _ in range(10):
        await writers.go_on()
        gateway.kill()
        await asyncio.to_thread(gateway.start)
    await writers.stop()
    await kept_once(gateway.base, writers.acknowledged)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(600)
async def test_postgresql_that_restarts_under_load(gateway_process, postgres_restarts):
    """`pg_ctl restart -m immediate` and SIGKILL, three times each: what was acknowledged is there once, and writing goes on."""
    gateway = gateway_process(f"{postgres_restarts.url}/postgres")
    writers = Writers(gateway.base)
    for number in range(6):
        await writers.go_on()
        await asyncio.to_thread(postgres_restarts.restart, signal.SIGKILL if number % 2 else signal.SIGQUIT)
    await writers.go_on()
    await writers.stop()
    await kept_once(gateway.base, writers.acknowledged)


async def _all(client):
    found, path = [], "/api/predictions?limit=500"
    while path:
        page = await client.get(path)
        found += page.json()["predictions"]
        path = page.links["next"]["url"] if "next" in page.links else None
    return found
