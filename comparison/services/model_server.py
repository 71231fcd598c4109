"""`python -m comparison.services.model_server`: the model server with the lab's busy wait around its engine and its endpoints.

The model server that serves users has none of this.
"""

from __future__ import annotations

import sys

from crossover.comparison.lab.serve import endpoints
from crossover.comparison.services.busy_wait import BusyWait
from crossover.model_server.server import serve_inference
from crossover.model_server.settings import ModelServerSettings, engine_of
from crossover.service import log, process, settings


async def serve(chosen: ModelServerSettings, stop: process.Stop) -> None:
    """The model server's own ports and the lab's, until `stop`."""
    engine = engine_of(chosen)
    inference = BusyWait(engine)
    async with endpoints(inference, chosen.model_server_host):
        await serve_inference(engine, inference, chosen, stop)


def main() -> int:
    chosen = settings.load(ModelServerSettings, "python -m comparison.services.model_server")
    log.set_up_log(chosen.log_level, chosen.log_format)
    return process.run(lambda stop: serve(chosen, stop))


if __name__ == "__main__":
    sys.exit(main())
