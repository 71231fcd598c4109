"""`python -m model_server`"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.service.interrupts import interruptible, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None, program: str = "python -m model_server") -> int:
    def load() -> Callable[[], int]:
        from crossover.model_server import server
        from crossover.model_server.settings import ModelServerSettings
        from crossover.service import log as log_of_service
        from crossover.service import settings

        def work() -> int:
            chosen = settings.load(ModelServerSettings, program, arguments)
            log_of_service.set_up_log(chosen.log_level, chosen.log_format)
            return server.run(chosen)

        return work

    return interruptible(load, program)


if __name__ == "__main__":
    leave(main())
