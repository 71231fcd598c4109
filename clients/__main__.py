"""`python -m clients infer|models|health`: calls from the shell, over any wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.service.interrupts import interruptible, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None, program: str = "python -m clients") -> int:
    def load() -> Callable[[], int]:
        from crossover.clients import command

        return lambda: command.main(arguments, program)

    return interruptible(load, program)


if __name__ == "__main__":
    leave(main())
