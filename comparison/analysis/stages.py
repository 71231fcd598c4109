"""The stages of a request: consecutive differences of the stations' stamps, so that they add up to what the client saw."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

END_TO_END = (
    ("client.sent", "", ""),
    ("received", "to the gateway", "transport"),
    ("decoded", "gateway decodes", "codec"),
    ("sent", "gateway encodes", "codec"),
    ("server.received", "to the model server", "transport"),
    ("server.decoded", "server decodes", "codec"),
    ("server.started", "queue", "queue"),
    ("server.finished", "compute", "compute"),
    ("server.encoded", "server encodes", "codec"),
    ("answered", "back to the gateway", "transport"),
    ("read", "gateway decodes the reply", "codec"),
    ("encoded", "gateway encodes the reply", "codec"),
    ("client.done", "back to the client", "transport"),
)
"""Stations in the order in which a request passes them, with the name and kind of the stage that ends there."""
HOP = (
    ("client.sent", "", ""),
    ("sent", "client encodes", "codec"),
    *(station for station in END_TO_END if station[0].startswith("server.")),
    ("answered", "back to the client", "transport"),
    ("read", "client decodes the reply", "codec"),
    ("client.done", "client returns", "codec"),
)
"""The same without a gateway."""


def way(stamps: Mapping[str, int]) -> Sequence[tuple[str, str, str]]:
    """The stations on the way that a request took: only a gateway stamps `received`."""
    return END_TO_END if "received" in stamps else HOP


def of_request(stamps: Mapping[str, int]) -> dict[str, float]:
    """Milliseconds in each stage; a station that was not passed gives its time to the next one that was."""
    passed = [(stamps[station], name) for station, name, _ in way(stamps) if station in stamps]
    return {name: (at - before) / 1e6 for (before, _), (at, name) in itertools.pairwise(passed)}


def is_ordered(stamps: Mapping[str, int]) -> bool:
    """Whether time never runs back along the way."""
    passed = [stamps[station] for station, _, _ in way(stamps) if station in stamps]
    return all(a <= b for a, b in itertools.pairwise(passed))


def typical(requests: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Mean milliseconds of each stage over the middle half of the requests by total time.

    Means add up, medians do not; leaving out the slowest and fastest quarter keeps a few stalls from colouring all.
    """
    whole = [stamps["client.done"] - stamps["client.sent"] for stamps in requests]
    low, high = np.quantile(whole, [0.25, 0.75])
    chosen = [of_request(s) for s, total in zip(requests, whole, strict=True) if low <= total <= high]
    stations = way(requests[0]) if requests else ()
    names = [name for _, name, _ in stations[1:] if any(name in stages for stages in chosen)]
    return {name: float(np.mean([stages.get(name, 0.0) for stages in chosen])) for name in names}


KINDS = {name: kind for _, name, kind in (*END_TO_END, *HOP) if name}
