"""`python -m stack`, which `make run` starts: both services, their logs, one signal to each, exit code 0."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from crossover.service.interrupts import interruptible

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None, program: str = "python -m stack") -> int:
    return interruptible(lambda: _run(arguments, program), program)


def _run(arguments: Sequence[str] | None, program: str) -> int:
    from crossover.service import settings
    from crossover.stack import ports
    from crossover.stack.settings import StackSettings
    from crossover.stack.supervisor import Supervisor

    chosen = settings.load(StackSettings, program, arguments).with_class().with_ports()
    if not chosen.model_repository.is_dir():
        settings.fail(f"the model repository '{chosen.model_repository}' is not a folder (MODEL_REPOSITORY)")
    if taken := ports.taken(chosen):
        settings.fail(taken)
    return Supervisor(chosen).run()


if __name__ == "__main__":
    sys.exit(main())
