"""`python -m comparison.torture.unguarded model_server|rest_gateway`: a service without the guard that the environment names."""

from __future__ import annotations

import sys
from importlib import import_module

from crossover.comparison.torture import guards

SERVICES = ("model_server", "rest_gateway")


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in SERVICES:
        print(f"python -m comparison.torture.unguarded {'|'.join(SERVICES)}", file=sys.stderr)
        return 2
    guards.switch_off()
    service = sys.argv.pop(1)
    return int(import_module(f"crossover.{service}.__main__").main())


if __name__ == "__main__":
    sys.exit(main())
