"""The model server: the engine behind a gRPC port and a REST port, on one event loop."""

from __future__ import annotations

import asyncio
import logging
import stat
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

from crossover.endpoints.control_policy import ControlPolicy
from crossover.endpoints.grpc.servicer import GrpcOptions
from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.serve import RestListener
from crossover.endpoints.rest.types import RestOptions
from crossover.model_server.engine import Engine
from crossover.model_server.metrics import EngineMetrics
from crossover.model_server.settings import ModelServerSettings, engine_of
from crossover.model_server.shared_files import COPIES
from crossover.protocol.inference import Inference
from crossover.protocol.wires import UNIX
from crossover.service import log as log_of_service
from crossover.service import process
from crossover.service.agreed import CANNOT_START, url_host
from crossover.service.doors import Door
from crossover.service.doors.setup import controls, door_of, is_loopback, warn_when_open
from crossover.service.idle_memory import IdleMemory
from crossover.service.loop_watch import LoopWatch
from crossover.service.metrics import Observer
from crossover.service.process import Stop, naming
from crossover.service.tracing import Tracer, tracer_of
from crossover.service.workers.worker import Worker, http_limits, scrape_of
from crossover.transport.memory_budget import MemoryBudget
from crossover.transport.tls import Tls

if TYPE_CHECKING:
    from crossover.endpoints.grpc.listener import Listener
    from crossover.model_server.every_worker import EveryWorker
    from crossover.service.workers.scrape import Scrape

log = logging.getLogger("crossover.model_server")

GRPC_LIBRARIES = {
    "grpcio": "crossover.endpoints.grpc.serve:GrpcListener",
    "lean": "crossover.endpoints.grpc.lean:LeanListener",
}
"""`module:class`, imported on use: a port by one library does without the other."""


def grpc_listener(library: str) -> type[Listener]:
    """The listener of a library in the table."""
    module, _, name = GRPC_LIBRARIES[library].partition(":")
    return cast("type[Listener]", getattr(import_module(module), name))


def run(settings: ModelServerSettings) -> int:
    """Serve until a signal, in this process or in several; the exit code."""
    if settings.model_server_workers == 1:
        return process.run(lambda stop: serve(settings, stop))
    from crossover.service.workers import running

    try:
        engine_of(settings)  # says once what does not do, and imports for all of them what an engine needs
    except ValueError as error:
        log_of_service.say(str(error))
        return CANNOT_START
    ports = ("model_server_http_port", "model_server_grpc_port")
    return running.run(settings.model_server_workers, settings, "model_server_host", ports, serve_worker)


async def serve(settings: ModelServerSettings, stop: Stop) -> None:
    """Serve until `stop`, drain, then finish what is in flight within the grace period.

    The ports open first, live but not ready, so that whoever waits for readiness can ask.
    """
    engine = engine_of(settings)
    await serve_inference(engine, engine, settings, stop)


async def serve_worker(settings: ModelServerSettings, stop: Stop, worker: Worker) -> None:
    """The same as one of several processes that share the ports."""
    from crossover.model_server.every_worker import EveryWorker

    COPIES.folder = worker.folder
    engine = engine_of(settings)
    await serve_inference(engine, EveryWorker(engine, worker, settings), settings, stop, worker)


async def serve_inference(
    engine: Engine, inference: Inference, settings: ModelServerSettings, stop: Stop, worker: Worker | None = None
) -> None:
    """Serve `inference`, which is the engine or something around it; a `worker`'s is an `EveryWorker`."""
    every = cast("EveryWorker", inference) if worker is not None else None
    observer, watch = Observer(), LoopWatch()
    observer.register(watch)
    observer.register(EngineMetrics(engine))
    budget = MemoryBudget(settings.max_in_flight_bytes)
    door = door_of(settings, "model_server")
    tracer = tracer_of(settings, "crossover-model-server")
    ports = _Ports(inference, settings, observer, budget, door, tracer, worker)
    scrape = scrape_of(worker, observer)
    grpc, rest = ports.public()
    local = ports.local()
    opens_last = worker is not None and worker.is_replacement
    try:
        if opens_last and not await _prepared(engine, every, scrape, worker, stop):
            return
        with naming("MODEL_SERVER_HOST", "MODEL_SERVER_HTTP_PORT"):
            await rest.start()
        with naming("MODEL_SERVER_HOST", "MODEL_SERVER_GRPC_PORT"):
            await grpc.start()
        with naming("MODEL_SERVER_UNIX_SOCKETS"):
            for listener in local:
                await listener.start()
        if not opens_last and not await _prepared(engine, every, scrape, worker, stop):
            return
        log.info(
            "ready: gRPC %s:%d, REST http%s://%s:%d", url_host(settings.model_server_host), grpc.port,
            "s" if settings.tls() else "", url_host(settings.model_server_host), rest.port,
        )  # fmt: skip
        with watch.running(), IdleMemory(budget).watched():
            await stop.wait()
        engine.draining = True
        for listener in (grpc, rest, *local):
            listener.drain()
        if settings.drain_seconds:
            log.info("draining: unready and still answering for %g s", settings.drain_seconds)
        await stop.drained(settings.drain_seconds)
        log.info("stopping: requests in flight have %g s", settings.grace_seconds)
    finally:
        await asyncio.gather(*(listener.stop(settings.grace_seconds) for listener in (grpc, rest, *local)))
        if scrape is not None:
            await scrape.stop()
        if every is not None:
            await every.close()
        await engine.close()
        if tracer is not None:
            await tracer.close()
        log.info("stopped")


async def _prepared(
    engine: Engine, every: EveryWorker | None, scrape: Scrape | None, worker: Worker | None, stop: Stop
) -> bool:
    """Load the repository, and join the other workers where there are some; False when the signal to stop came first."""
    if not await _started(engine, stop):
        return False
    if every is not None:
        await every.start()
    if scrape is not None:
        await scrape.start()
    if worker is not None:
        worker.announce()
    return True


async def _started(engine: Engine, stop: Stop) -> bool:
    """Load the repository; False when the signal to stop came first."""
    loading = asyncio.ensure_future(engine.repository.start())
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
        return loading.done()
    finally:
        loading.cancel()
        stopping.cancel()


@dataclass(frozen=True, slots=True)
class _Ports:
    """Makes the listeners of a service, and holds what they share."""

    inference: Inference
    settings: ModelServerSettings
    observer: Observer
    budget: MemoryBudget
    door: Door
    tracer: Tracer | None
    worker: Worker | None

    def public(self) -> tuple[Listener, RestListener]:
        settings = self.settings
        host, tls = settings.model_server_host, settings.tls()
        warn_when_open(settings, host, tls, "model server")
        return (
            self._grpc(host, settings.model_server_grpc_port, tls),
            self._rest(host, settings.model_server_http_port, tls),
        )

    def local(self) -> list[Listener | RestListener]:
        """The same on Unix sockets, where a folder for them is given."""
        folder = self.settings.model_server_unix_sockets
        if folder is None:
            return []
        if self.worker is not None:  # a Unix socket is one process's
            folder = folder / str(self.worker.index)
            folder.mkdir(exist_ok=True)
            folder.chmod(stat.S_IMODE(folder.parent.stat().st_mode))
        return [self._grpc(f"{UNIX}{folder / 'grpc.sock'}"), self._rest(f"{UNIX}{folder / 'rest.sock'}")]

    def _grpc(self, host: str, port: int = 0, tls: Tls | None = None) -> Listener:
        settings = self.settings
        options = GrpcOptions(
            settings.max_message_bytes, settings.default_timeout_ms, control_policy(settings, host, tls), self.door, self.budget,
            self.tracer, settings.connection_age(), self._is_shared(host),
        )  # fmt: skip
        kind = grpc_listener(settings.model_server_grpc_library)
        return kind(self.inference, host, port, tls, options, self.observer)

    def _rest(self, host: str, port: int = 0, tls: Tls | None = None) -> RestListener:
        settings = self.settings
        options = RestOptions(
            settings.max_message_bytes,
            settings.default_timeout_ms,
            control_policy(settings, host, tls),
            tracer=self.tracer,
        )
        app = OipRest(lambda _: (None, self.inference), settings=options, observer=self.observer)
        return RestListener(
            app, host, port, tls, access_log=settings.access_log, limits=http_limits(settings, self.worker),
            budget=self.budget, door=self.door, shared=self._is_shared(host),
        )  # fmt: skip

    def _is_shared(self, host: str) -> bool:
        return self.worker is not None and not host.startswith(UNIX)


def control_policy(settings: ModelServerSettings, host: str, tls: Tls | None) -> ControlPolicy:
    """What a port on this host allows."""
    setting = settings.model_server_shared_memory
    return ControlPolicy(
        controls(settings.model_server_repository_control, settings, host, tls),
        settings.model_uploads,
        shared_memory=is_loopback(host) if setting == "auto" else setting == "1",
    )
