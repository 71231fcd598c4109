"""`python -m stack`, which `make run` starts: both services, their logs, one signal to each, exit code 0."""

from __future__ import annotations

import sys

from crossover.service import settings
from crossover.stack.settings import StackSettings
from crossover.stack.supervisor import Supervisor


def main() -> int:
    chosen = settings.load(StackSettings, "python -m stack").with_ports()
    if not chosen.model_repository.is_dir():
        settings.fail(f"the model repository '{chosen.model_repository}' is not a folder (MODEL_REPOSITORY)")
    return Supervisor(chosen).run()


if __name__ == "__main__":
    sys.exit(main())
