"""Whether a link is what its profile says: round trips measured before use, and the wire's own time taken off.

What is timed is the kernel's answer to an ICMP echo on the other host, so that no process of ours takes part but the wire.
"""

from __future__ import annotations

import math
import os
import socket
import struct
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.network.link import THERE_ADDRESS
from crossover.comparison.network.profiles import is_close

if TYPE_CHECKING:
    from crossover.comparison.network.link import Link
    from crossover.comparison.network.profiles import Profile

_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
_ECHO, _REPLY = 8, 0
_HEAD = struct.Struct("!BBHHH")
_SECONDS, _FEWEST, _MOST = 1.0, 10, 300
_FEWEST_WITH_JITTER = 80
_PATIENCE_S = 2.0
_ROUNDS, _WELL_SET = 4, 0.01
"""A median within a hundredth is not corrected further."""
_LEAST_PAUSE_S, _MOST_PAUSE_S = 0.0002, 0.003


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the link of a profile was measured to be; its median is the factor's value."""

    network: str
    nominal_ms: float
    median_ms: float
    p10_ms: float
    p90_ms: float
    answered: int
    asked: int
    correction_ms: float
    """Taken off each one-way delay: what the wire and the kernel need themselves."""
    congestion_control: str
    loss: float
    usable: bool

    @property
    def sentence(self) -> str:
        text = f"round trip {self.median_ms:.3g} ms (p10 {self.p10_ms:.3g}, p90 {self.p90_ms:.3g})"
        return text if self.usable else f"{text}, nominal {self.nominal_ms:g} ms: too far off to be called that"


def calibrated(link: Link, profile: Profile, seed: int) -> Calibration:
    """Set the link to `profile` and measure it, its delay corrected until the median is right or cannot be."""
    correction = _correction_ms(link, profile, seed)
    link.use(profile, correction, seed)
    count = max(_count(profile), _FEWEST_WITH_JITTER if profile.jitter_ms else 0)
    found = round_trips_ms(count)
    p10, median, p90 = np.quantile(found, (0.1, 0.5, 0.9)).tolist() if len(found) else (math.inf,) * 3
    return Calibration(
        profile.name, profile.round_trip_ms, median, p10, p90, len(found), count, correction, congestion_control(),
        profile.loss, is_close(profile, median),
    )  # fmt: skip


def _correction_ms(link: Link, profile: Profile, seed: int) -> float:
    """What to take off each one-way delay, found on the profile without its jitter and loss."""
    steady = replace(profile, jitter_ms=0.0, loss=0.0)
    tried: dict[float, float] = {}
    correction = 0.0
    for _ in range(_ROUNDS):
        link.use(steady, correction, seed)
        found = round_trips_ms(_count(profile))
        off = float(np.median(found)) - profile.round_trip_ms if len(found) else math.inf
        tried[correction] = abs(off)
        if not _WELL_SET * profile.round_trip_ms < abs(off) < math.inf:
            break
        correction += off / 2
    return min(tried, key=lambda correction: tried[correction])


def _count(profile: Profile) -> int:
    return int(np.clip(_SECONDS * 1000 / profile.round_trip_ms, _FEWEST, _MOST))


def congestion_control() -> str:
    """What TCP connections of this host use."""
    return _CONGESTION_CONTROL.read_text().strip()


def round_trips_ms(count: int) -> np.ndarray:
    """Round trips to the other host in ms, one after the other with short pauses; those without an answer are left out."""
    random = np.random.default_rng(count)
    found: list[float] = []
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as asking:
        asking.settimeout(_PATIENCE_S)
        for number in range(count):
            time.sleep(random.uniform(_LEAST_PAUSE_S, _MOST_PAUSE_S))
            taken = _round_trip(asking, os.getpid() & 0xFFFF, number)
            if taken is not None:
                found.append(taken)
    return np.array(found)


def _round_trip(asking: socket.socket, identifier: int, number: int) -> float | None:
    began = time.perf_counter_ns()
    asking.sendto(_echo(identifier, number), (THERE_ADDRESS, 0))
    try:
        while True:
            answer = asking.recv(2048)
            kind, _, _, to, which = _HEAD.unpack_from(answer, (answer[0] & 15) * 4)
            if (kind, to, which) == (_REPLY, identifier, number):
                return (time.perf_counter_ns() - began) / 1e6
    except TimeoutError:
        return None


def _echo(identifier: int, number: int) -> bytes:
    """An echo request (RFC 792) with its checksum (RFC 1071)."""
    words = struct.unpack("!4H", _HEAD.pack(_ECHO, 0, 0, identifier, number))
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    return _HEAD.pack(_ECHO, 0, ~(total + (total >> 16)) & 0xFFFF, identifier, number)
