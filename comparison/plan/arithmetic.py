"""From what a request costs to cores, machines, connections, network and money, and to what breaks first. Pure.

Everything is reckoned in each block by itself, and the interval is that of the blocks' results (Student's t), so that what
was uncertain in the run is as uncertain in the plan. What no run here can show (two machines' network cards, a cloud's limits)
is a given of the plan, not a figure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from crossover.comparison.analysis.cost import Prices, per_million
from crossover.comparison.analysis.statistics import mean_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crossover.comparison.plan.figures import Point

Span = list[float | None]
"""[low, mean, high]; low and high are None with one block."""
MAX_CONNECTIONS = 10_000
"""What a port of ours takes by default (docs/settings.md)."""
BALANCER_US = {"L4": {"grpc": 93.0, "rest": 96.0}, "L7": {"grpc": 284.0, "rest": 270.0}}
"""µs of CPU of Envoy a call (docs/findings.md, Several replicas)."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is planned for."""

    rps: float
    payload: int
    """Bytes of a request's tensors."""
    model_ms: float
    """CPU time of the model itself a request, on top of the measured one, which does next to nothing."""
    vcpus: int = 16
    """Of one machine."""
    nic_gbit: float = 10.0
    """Of one machine, each way."""
    prices: Prices = field(default_factory=Prices)


def planned(kind: str, point: Point, wish: Wish) -> dict[str, Any]:
    """One wire's plan; `kind` is `grpc` or `rest`."""
    used = wish.prices.utilisation
    gateway_s, model_s = point.gateway_us / 1e6, point.model_server_us / 1e6 + wish.model_ms / 1e3
    gateway, model = wish.rps * gateway_s / used, wish.rps * model_s / used
    gbit = wish.rps * point.wire_bytes * 8 / 1e9
    under_way = wish.rps * (point.p50_ms + wish.model_ms) / 1e3  # Little 1961
    costs = [
        per_million(cpu, 0.0 if math.isnan(wire) else wire, wish.prices).total
        for cpu, wire in zip(gateway_s + model_s, point.wire_bytes, strict=True)
    ]
    pairs = np.ceil(gateway) * np.ceil(model)
    return {
        "how": point.how,
        "cores": {"gateway": _span(gateway), "model_server": _span(model)},
        "machines": {
            "gateway": _whole(np.maximum(gateway / wish.vcpus, _per_card(gbit, wish))),
            "model_server": _whole(np.maximum(model / wish.vcpus, _per_card(gbit, wish))),
        },
        "connections": _span(pairs if kind == "grpc" else np.maximum(pairs, under_way)),
        "under_way": _span(under_way),
        "hop_gbit": _span(gbit),
        "cost_per_million": _span(np.array(costs)),
        "cost_per_hour": _span(np.array(costs) * wish.rps * 3600 / 1e6),
        "limits": limits(kind, point, wish, gateway_s, model_s),
    }


def _per_card(gbit: NDArray[np.float64], wish: Wish) -> NDArray[np.float64]:
    """Machines whose network cards carry the hop (0 where bytes were not counted).

    A gateway's card carries the public request in with the hop's reply, and the other way round: all of the hop's bytes each way.
    """
    return np.nan_to_num(gbit) / wish.nic_gbit


def limits(
    kind: str, point: Point, wish: Wish, gateway_s: NDArray[np.float64], model_s: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """At how many requests a second each resource is used up, the first one first, and what comes then."""
    used, machine = wish.prices.utilisation, wish.vcpus * wish.prices.utilisation
    wire = point.wire_bytes * 8 / 1e9
    found = [
        ("one gateway process", used / gateway_s, "GATEWAY_WORKERS", False),
        ("one model-server process", used / model_s, "MODEL_SERVER_WORKERS, then replicas", False),
        ("the cores of one machine for both", machine / (gateway_s + model_s), "replicas on other machines", False),
        ("the network card of one machine", wish.nic_gbit / wire, "more machines than the cores ask for", True),
        (
            f"connections of one model-server port, {MAX_CONNECTIONS:,}", MAX_CONNECTIONS * used / gateway_s,
            "cells: a gateway knows a part of the replicas", True,
        ),
        *(
            (f"one machine of Envoy as {layer}", np.full(1, machine * 1e6 / BALANCER_US[layer][kind]),
             "more of them, or client-side balancing", True)
            for layer in BALANCER_US
        ),
    ]  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"what": what, "rps": _span(rps), "then": then, "shared": shared} for what, rps, then, shared in found
    ]
    return sorted((row for row in rows if row["rps"][1] is not None), key=lambda row: float(row["rps"][1]))


def first_shared(plan: dict[str, Any]) -> dict[str, Any]:
    """The limit that more processes and machines do not lift by themselves."""
    found: dict[str, Any] = next(limit for limit in plan["limits"] if limit["shared"])
    return found


def _span(values: NDArray[np.float64]) -> Span:
    if np.isnan(values).any():
        return [None, None, None]
    interval = mean_interval(values)
    if interval is None:
        return [None, float(values[0]), None]
    return [max(0.0, interval.low), interval.estimate, interval.high]


def _whole(values: NDArray[np.float64]) -> Span:
    """Machines come whole."""
    return [None if value is None else float(math.ceil(value - 1e-9)) for value in _span(values)]
