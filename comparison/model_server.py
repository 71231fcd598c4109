"""`python -m comparison.model_server`: the model server with the lab's busy wait around its engine.

The model server that serves users has none of this.
"""

from __future__ import annotations

import sys

from comparison.busy_wait import BusyWait
from endpoints import process, settings
from model_server.server import serve_inference
from model_server.settings import ModelServerSettings, engine_of


def main() -> int:
    chosen = settings.load(ModelServerSettings, "python -m comparison.model_server")
    process.set_up_log(chosen.log_level)
    engine = engine_of(chosen)
    return process.run(lambda stop: serve_inference(engine, BusyWait(engine), chosen, stop))


if __name__ == "__main__":
    sys.exit(main())
