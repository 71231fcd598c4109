"""`python -m model_server`"""

from __future__ import annotations

import sys

from crossover.model_server import server
from crossover.model_server.settings import ModelServerSettings
from crossover.service import process, settings


def main() -> int:
    chosen = settings.load(ModelServerSettings, "python -m model_server")
    process.set_up_log(chosen.log_level)
    return process.run(lambda stop: server.serve(chosen, stop))


if __name__ == "__main__":
    sys.exit(main())
