"""The model server: the engine behind a gRPC port and a REST port, on one event loop."""

from __future__ import annotations

import asyncio
import logging

from crossover.endpoints.grpc.lean import LeanListener
from crossover.endpoints.grpc.listener import Listener
from crossover.endpoints.grpc.serve import GrpcListener
from crossover.endpoints.grpc.servicer import GrpcOptions
from crossover.endpoints.rest.app import OipRest
from crossover.endpoints.rest.serve import RestListener
from crossover.endpoints.rest.types import RestOptions
from crossover.model_server.engine import Engine
from crossover.model_server.metrics import EngineMetrics
from crossover.model_server.settings import ModelServerSettings, engine_of
from crossover.protocol.inference import Inference
from crossover.protocol.wires import UNIX
from crossover.service.metrics import Observer
from crossover.service.process import naming, url_host
from crossover.transport.memory_budget import MemoryBudget
from crossover.transport.tls import Tls

log = logging.getLogger("crossover.model_server")

GRPC_LIBRARIES: dict[str, type[Listener]] = {"grpcio": GrpcListener, "lean": LeanListener}


async def serve(settings: ModelServerSettings, stop: asyncio.Event) -> None:
    """Serve until `stop`, then finish what is in flight within the grace period.

    The ports open first, live but not ready, so that whoever waits for readiness can ask.
    """
    engine = engine_of(settings)
    await serve_inference(engine, engine, settings, stop)


async def serve_inference(
    engine: Engine, inference: Inference, settings: ModelServerSettings, stop: asyncio.Event
) -> None:
    """Serve `inference`, which is the engine or something around it."""
    observer = Observer()
    observer.register(EngineMetrics(engine))
    budget = MemoryBudget(settings.max_in_flight_bytes)
    grpc, rest = _listeners(inference, settings, observer, budget)
    local = _local_listeners(inference, settings, observer, budget)
    with naming("MODEL_SERVER_HOST", "MODEL_SERVER_HTTP_PORT"):
        await rest.start()
    try:
        with naming("MODEL_SERVER_HOST", "MODEL_SERVER_GRPC_PORT"):
            await grpc.start()
        with naming("MODEL_SERVER_UNIX_SOCKETS"):
            for listener in local:
                await listener.start()
        if not await _started(engine, stop):
            return
        log.info(
            "ready: gRPC %s:%d, REST http%s://%s:%d", url_host(settings.model_server_host), grpc.port,
            "s" if settings.tls() else "", url_host(settings.model_server_host), rest.port,
        )  # fmt: skip
        await stop.wait()
        log.info("stopping: requests in flight have %g s", settings.grace_seconds)
        engine.draining = True
    finally:
        await asyncio.gather(*(listener.stop(settings.grace_seconds) for listener in (grpc, rest, *local)))
        await engine.close()
        log.info("stopped")


async def _started(engine: Engine, stop: asyncio.Event) -> bool:
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


def _listeners(
    inference: Inference, settings: ModelServerSettings, observer: Observer, budget: MemoryBudget
) -> tuple[Listener, RestListener]:
    host, tls = settings.model_server_host, settings.tls()
    return (
        _grpc(inference, settings, observer, host, settings.model_server_grpc_port, tls),
        _rest(inference, settings, observer, budget, host, settings.model_server_http_port, tls),
    )


def _local_listeners(
    inference: Inference, settings: ModelServerSettings, observer: Observer, budget: MemoryBudget
) -> list[Listener | RestListener]:
    """The same on Unix sockets, where a folder for them is given."""
    folder = settings.model_server_unix_sockets
    if folder is None:
        return []
    return [
        _grpc(inference, settings, observer, f"{UNIX}{folder / 'grpc.sock'}"),
        _rest(inference, settings, observer, budget, f"{UNIX}{folder / 'rest.sock'}"),
    ]


def _grpc(
    inference: Inference, settings: ModelServerSettings, observer: Observer, host: str, port: int = 0,
    tls: Tls | None = None,
) -> Listener:  # fmt: skip
    options = GrpcOptions(settings.max_message_bytes, settings.default_timeout_ms)
    return GRPC_LIBRARIES[settings.model_server_grpc_library](inference, host, port, tls, options, observer)


def _rest(
    inference: Inference, settings: ModelServerSettings, observer: Observer, budget: MemoryBudget, host: str,
    port: int = 0, tls: Tls | None = None,
) -> RestListener:  # fmt: skip
    options = RestOptions(settings.max_message_bytes, settings.default_timeout_ms)
    app = OipRest(lambda _: (None, inference), settings=options, observer=observer)
    return RestListener(
        app, host, port, tls, access_log=settings.access_log, limits=settings.http_limits(), budget=budget
    )
