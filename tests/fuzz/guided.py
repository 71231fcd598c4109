"""One target under atheris (libFuzzer for Python): `python -m tests.fuzz.guided TARGET CORPUS... -runs=N` and libFuzzer's other flags.

A process of its own, because libFuzzer ends the process that it runs in, and because modules are instrumented as they are
imported.
"""

from __future__ import annotations

import itertools
import sys

import atheris

with atheris.instrument_imports(include=["crossover.protocol", "crossover.transport", "crossover.endpoints",
                                         "crossover.rest_gateway", "crossover.model_server"]):  # fmt: skip
    from tests.fuzz.engine import SCALED_EACH
    from tests.fuzz.targets import TARGETS

SLOWED = 8.0
"""Times that code which counts its own lines may take."""


def main() -> None:
    target = TARGETS[sys.argv[1]]
    numbers = itertools.count(1)

    def run(data: bytes) -> None:
        target.check(data)
        number = next(numbers)
        if number % SCALED_EACH == 0:
            target.check_scaled(data, number, SLOWED)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
