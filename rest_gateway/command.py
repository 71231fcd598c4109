"""The gateway's command: serve; `keys` and `migrate` as first argument are commands of their own."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from crossover.endpoints.rest.serve import RestListener
from crossover.protocol.wires import WIRES
from crossover.rest_gateway import predictions
from crossover.rest_gateway.app import create_app
from crossover.rest_gateway.refusals import refused
from crossover.rest_gateway.settings import GatewaySettings
from crossover.service import log as log_of_service
from crossover.service import process, settings
from crossover.service.agreed import url_host
from crossover.service.doors.setup import door_of, warn_when_open
from crossover.service.idle_memory import IdleMemory
from crossover.service.tracing import tracer_of
from crossover.service.workers.worker import Worker, http_limits, scrape_of
from crossover.transport.memory_budget import MemoryBudget

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("crossover.gateway")


def warn_without_upstream_key(chosen: GatewaySettings) -> None:
    """One line where the model server's keys, which are the same file in most installations, will refuse the gateway."""
    away = WIRES[chosen.gateway_upstream].kind != "process"
    if away and chosen.api_keys_file is not None and chosen.upstream_api_key_file is None:
        log.warning(
            "API_KEYS_FILE is set, UPSTREAM_API_KEY_FILE is not: a model server with keys will refuse this gateway"
        )


def _unready_reason(stop: process.Stop, worker: Worker | None) -> str | None:
    if stop.is_set():
        return "the gateway is stopping"
    starts = worker is not None and not worker.all_were_ready
    return "not all processes of the gateway have started" if starts else None


async def serve(chosen: GatewaySettings, stop: process.Stop, worker: Worker | None = None) -> None:
    """Serve until `stop`, drain, then finish what is in flight within the grace period; `worker`: as one of several processes."""
    await predictions.prepare(chosen)
    tracer = tracer_of(chosen, "crossover-gateway")
    app = create_app(chosen, partial(_unready_reason, stop, worker), tracer)
    assert app.observer is not None
    scrape = scrape_of(worker, app.observer)
    budget = MemoryBudget(chosen.max_in_flight_bytes)
    listener = RestListener(
        app,
        chosen.gateway_host,
        chosen.gateway_port,
        chosen.tls(),
        access_log=chosen.access_log,
        limits=http_limits(chosen, worker),
        budget=budget,
        door=door_of(chosen, "gateway"),
        refuse=refused,
        shared=worker is not None,
    )
    if scrape is not None:
        await scrape.start()
    with process.naming("GATEWAY_HOST", "GATEWAY_PORT"):
        await listener.start()
    if worker is not None:
        worker.announce()
    warn_when_open(chosen, chosen.gateway_host, chosen.tls(), "gateway")
    warn_without_upstream_key(chosen)
    where = f"{url_host(chosen.gateway_host)}:{listener.port}"
    log.info("ready: http%s://%s, upstream %s", "s" if chosen.tls() else "", where, chosen.gateway_upstream)
    with IdleMemory(budget).watched():
        await stop.wait()
    listener.drain()
    if chosen.drain_seconds:
        log.info("draining: unready and still answering for %g s", chosen.drain_seconds)
    await stop.drained(chosen.drain_seconds)
    log.info("stopping: requests in flight have %g s", chosen.grace_seconds)
    await listener.stop(chosen.grace_seconds)
    if scrape is not None:
        await scrape.stop()
    if tracer is not None:
        await tracer.close()
    log.info("stopped")


def main(arguments: Sequence[str] | None = None, program: str = "python -m rest_gateway") -> int:
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["keys"]:
        from crossover.rest_gateway import keys_command

        return keys_command.main(words[1:], f"{program} keys")
    if words[:1] == ["migrate"]:
        from crossover.rest_gateway import migrate_command

        return migrate_command.main(words[1:], f"{program} migrate")
    chosen = settings.load(GatewaySettings, program, arguments)
    log_of_service.set_up_log(chosen.log_level, chosen.log_format)
    return _run(chosen)


def _run(chosen: GatewaySettings) -> int:
    if chosen.gateway_workers == 1:
        return process.run(lambda stop: serve(chosen, stop))
    from crossover.service.workers import running

    if WIRES[chosen.gateway_upstream].kind == "process":
        settings.fail(
            f"GATEWAY_WORKERS is '{chosen.gateway_workers}'; with GATEWAY_UPSTREAM={chosen.gateway_upstream} it takes 1, as the "
            "models are in the gateway's own process then"
        )
    return running.run(chosen.gateway_workers, chosen, "gateway_host", ("gateway_port",), serve)
