"""How old a connection may get: clients that keep theirs for ever never reach a replica that joins behind an L4 balancer.

The rule is gRPC's (proposal A9): a connection that has reached its age, spread by a tenth so that not all end together, is
told to end (HTTP/2 GOAWAY; HTTP/1.1 `Connection: close` on its next reply), and calls on it go on for the grace time.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

SPREAD = 0.1


@dataclass(frozen=True, slots=True)
class ConnectionAge:
    """Seconds; infinity for no end."""

    most: float = math.inf
    grace: float = math.inf

    def of_one(self) -> float:
        """The age of one connection."""
        return self.most * random.uniform(1 - SPREAD, 1 + SPREAD)

    @property
    def of_stream(self) -> float:
        """When a stream that can be told to end is told, so that it never meets the end of its connection's grace.

        A stream begins before its connection has reached its age.
        """
        return (1 - SPREAD) * min(self.most, self.grace)


ENDLESS = ConnectionAge()
