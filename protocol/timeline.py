"""Where a request's time went: stations stamped on the monotonic clock, in nanoseconds, by the code that passes them.

On one host CLOCK_MONOTONIC is the same for every process, so stamps of client, gateway and server make one line. On
two hosts only differences within one side mean anything; `durations` uses no others.

Order on a gateway: received, decoded, sent, server.received, server.decoded, server.started, server.finished,
server.encoded, answered, read, encoded. A service asked by the header `Inference-Timeline: 1` (gRPC: metadata of the same
name) gives its own stamps back under that name (gRPC: trailing metadata; on a stream: a reply parameter).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = "inference-timeline"
_MAX_STAMPS = 64


class Timeline:
    """Stamps in the order in which they were made."""

    __slots__ = ("stamps",)

    def __init__(self) -> None:
        self.stamps: dict[str, int] = {}

    def mark(self, station: str) -> None:
        self.stamps[station] = time.monotonic_ns()

    def adopt(self, text: str, prefix: str = "server.") -> None:
        """Take over the stamps of the service that was called; text that is not a timeline is ignored."""
        for item in text.split(",")[:_MAX_STAMPS]:
            station, _, stamp = item.partition("=")
            if station and stamp.isascii() and stamp.isdigit():
                self.stamps[prefix + station] = int(stamp)

    def to_header(self) -> str:
        return ",".join(f"{station}={stamp}" for station, stamp in self.stamps.items())

    def between(self, start: str, end: str) -> int:
        """Nanoseconds from one station to another; 0 when either was not passed."""
        if start not in self.stamps or end not in self.stamps:
            return 0
        return max(0, self.stamps[end] - self.stamps[start])


def durations(timeline: Timeline) -> dict[str, float]:
    """`Server-Timing` entries in milliseconds: decode, encode, upstream, queue, compute, reply; they add up to the whole.

    `upstream` is the hop alone: the call less the queue and compute times that the server reports.
    """
    passed = timeline.stamps
    ran = "server." if "server.started" in passed else ""
    queue = timeline.between(f"{ran}decoded", f"{ran}started")
    compute = timeline.between(f"{ran}started", f"{ran}finished")
    hop = max(0, timeline.between("sent", "answered") - queue - compute) if "sent" in passed else 0
    after = "answered" if "answered" in passed else "finished"
    parts = {
        "decode": timeline.between("received", "decoded"),
        "encode": timeline.between("decoded", "sent"),
        "upstream": hop,
        "queue": queue,
        "compute": compute,
        "reply": timeline.between(after, "encoded"),
    }
    return {name: spent / 1e6 for name, spent in parts.items()}


def server_timing(spent: Mapping[str, float]) -> str:
    """The `Server-Timing` header (W3C Server Timing) for `durations`."""
    return ", ".join(f"{name};dur={milliseconds:.3f}" for name, milliseconds in spent.items())
