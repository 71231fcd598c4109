"""`python -m rest_gateway`: the gateway; with `keys` as first argument, the API keys of both services, and with
`migrate` its database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossover.service.interrupts import interruptible, leave

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None, program: str = "python -m rest_gateway") -> int:
    def load() -> Callable[[], int]:
        from crossover.rest_gateway import command

        return lambda: command.main(arguments, program)

    return interruptible(load, program)


if __name__ == "__main__":
    leave(main())
