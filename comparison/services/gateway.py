"""`python -m comparison.services.gateway`: the gateway, with the lab's own wires in its registry beside the users' ones."""

from __future__ import annotations

import sys

from crossover.comparison.lab import wires
from crossover.rest_gateway.__main__ import main

if __name__ == "__main__":
    wires.register()
    sys.exit(main())
