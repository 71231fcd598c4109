"""A service as several processes: its ports are taken once, and its workers share them.

SO_REUSEPORT, and not one process that accepts for all: grpcio binds its own socket and takes no connection from another
process. So every port works in the same way, without a hop. The system spreads connections, not calls.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

from crossover.protocol.wires import UNIX
from crossover.service import log, process, settings
from crossover.service.agreed import CANNOT_START
from crossover.service.workers.supervisor import Supervisor
from crossover.transport import addresses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from crossover.service.settings import ServiceSettings
    from crossover.service.workers.worker import Worker

S = TypeVar("S", bound="ServiceSettings")


def run(
    count: int,
    chosen: S,
    host: str,
    ports: Sequence[str],
    serve: Callable[[S, process.Stop, Worker], Awaitable[None]],
) -> int:
    """Run `count` workers until a signal; the exit code. `host` and `ports` are names of settings; port 0 is any free one."""
    address = getattr(chosen, host)
    if address.startswith(UNIX):
        settings.fail(f"{host.upper()} is '{address}', a Unix socket, which takes one process; several share a port")
    try:
        with ExitStack() as stack:
            bound_ports: dict[str, int] = {}
            for port in ports:
                with process.naming(host.upper(), port.upper()):
                    sockets = addresses.reserved(address, getattr(chosen, port))
                stack.callback(addresses.close, sockets)
                bound_ports[port] = addresses.port_of(sockets[0])
            shared = chosen.changed(**bound_ports)

            def work(worker: Worker) -> int:
                return process.run(lambda stop: serve(shared.of_worker(worker), stop, worker), worker.say)

            return Supervisor(count, work, chosen.drain_seconds + chosen.grace_seconds).run()
    except OSError as error:
        log.say(str(error))
        return CANNOT_START
