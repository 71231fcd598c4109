"""`python -m stack`, which `make run` starts: both services, their logs, one signal to each, exit code 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.service.interrupts import interruptible, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None, program: str = "python -m stack") -> int:
    def load() -> Callable[[], int]:
        from crossover.service import settings
        from crossover.stack import ports
        from crossover.stack.settings import StackSettings
        from crossover.stack.supervisor import StackSupervisor

        def work() -> int:
            chosen = settings.load(StackSettings, program, arguments).with_class().with_ports()
            if not chosen.model_repository.is_dir():
                settings.fail(f"the model repository '{chosen.model_repository}' is not a folder (MODEL_REPOSITORY)")
            if occupied := ports.taken(chosen):
                settings.fail(occupied)
            return StackSupervisor(chosen).run()

        return work

    return interruptible(load, program)


if __name__ == "__main__":
    leave(main())
