"""The lab: `python -m comparison COMMAND`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.service.interrupts import interruptible, leave

if TYPE_CHECKING:
    from collections.abc import Callable


def main(arguments: list[str] | None = None, program: str = "python -m comparison") -> int:
    def load() -> Callable[[], int]:
        from crossover.comparison import command_line

        return lambda: command_line.main(arguments, program)

    return interruptible(load, program)


if __name__ == "__main__":
    leave(main())
