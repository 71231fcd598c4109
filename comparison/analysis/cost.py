"""What a million requests cost, from measured CPU and bytes and the reader's own prices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in one currency."""

    vcpu_hour: float = 0.04
    gigabyte: float = 0.01
    """For 10^9 bytes between the two services (traffic between zones; zero within one)."""
    utilisation: float = 0.6
    """Share of the paid CPU time that is used."""
    currency: str = ""
    """What the prices are in, as it is shown: USD, EUR, ₩; empty: none was said."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a million requests."""

    cpu: float
    traffic: float
    currency: str = ""

    @property
    def total(self) -> float:
        return self.cpu + self.traffic


def per_million(cpu_seconds: float, wire_bytes: float, prices: Prices) -> Cost:
    """The cost of 10^6 requests that take `cpu_seconds` and move `wire_bytes` each."""
    hours = 1e6 * cpu_seconds / prices.utilisation / 3600
    return Cost(hours * prices.vcpu_hour, 1e6 * wire_bytes / 1e9 * prices.gigabyte, prices.currency)
