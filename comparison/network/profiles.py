"""The networks that a hop can be measured over. Pure: a table and arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = "loopback"


@dataclass(frozen=True, slots=True)
class Profile:
    """A link between two hosts, the same both ways but for the rate."""

    name: str
    round_trip_ms: float
    summary: str
    jitter_ms: float = 0.0
    """Each packet's one-way delay varies evenly by so much to either side; order is kept."""
    loss: float = 0.0
    """Share of packets lost each way, independently of each other."""
    to_model_server_mbit: float = 0.0
    """Rate from the gateway to the model server, Mbit/s; 0: as fast as the wire goes."""
    to_gateway_mbit: float = 0.0
    queue_ms: float = 100.0
    """How long packets wait for the rate before further ones are dropped."""
    idle_restarts: bool = True
    """A connection that was idle starts slowly again (Linux's default, RFC 5681 4.1); False: it keeps its window."""


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("same-zone", 0.25, "two hosts in one zone of a data centre, 1 Gbit/s",
                to_model_server_mbit=1000, to_gateway_mbit=1000),
        Profile("cross-zone", 1.0, "two zones of one region, 1 Gbit/s", to_model_server_mbit=1000, to_gateway_mbit=1000),
        Profile("region", 30.0, "two regions of one continent, 1 Gbit/s", to_model_server_mbit=1000, to_gateway_mbit=1000),
        Profile("region-warm", 30.0, "as region, with idle connections that keep their congestion window",
                to_model_server_mbit=1000, to_gateway_mbit=1000, idle_restarts=False),
        Profile("far-region", 150.0, "two continents, 500 Mbit/s", to_model_server_mbit=500, to_gateway_mbit=500),
        Profile("mobile", 60.0, "4G: 5 Mbit/s up, 10 down, 15 ms jitter, one packet in 200 lost", jitter_ms=15.0,
                loss=0.005, to_model_server_mbit=5, to_gateway_mbit=10, queue_ms=200.0),
    )
}  # fmt: skip
"""Round-trip times between zones and regions are those that cloud users publish; see docs/method.md."""
NETWORKS = (LOOPBACK, *PROFILES)

MOST_OFF_SHARE, MOST_OFF_MS = 0.05, 0.1
"""A calibrated median may be off by a twentieth or 0.1 ms, whichever is larger."""


def is_close(profile: Profile, median_ms: float) -> bool:
    """Whether a link with this median round trip may be called by the profile's name."""
    return abs(median_ms - profile.round_trip_ms) <= max(MOST_OFF_SHARE * profile.round_trip_ms, MOST_OFF_MS)
