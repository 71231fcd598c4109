"""More than a model can answer: the excess is refused, and everything else goes on (open loop, deadline 1 s)."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crossover.comparison.torture import attack
from crossover.comparison.torture.attack import HttpCaller
from crossover.comparison.torture.load import Load, Stream, Summary
from crossover.comparison.torture.promise import Figure, Promise, Values, at_least, at_most
from crossover.stack.services import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from crossover.comparison.torture.ground import Ground

SETTINGS = {"MODEL_WORKERS": "1"}
RUN_SECONDS = 0.02
DEADLINE_SECONDS = 1.0
FACTORS = (2, 5)
"""Times the capacity."""
LOAD_SECONDS = 3.0
NEIGHBOUR_RATE = 10.0
GOODPUT_PERCENT, HEALTH_SECONDS, NEIGHBOUR_SECONDS, AFTERWARDS_SECONDS, MEMORY_PERCENT = 85.0, 0.1, 0.25, 1.0, 10.0
_PROBE_SECONDS = 1.5
_WORK, _OTHER = "/v2/models/work/infer", "/v2/models/other/infer"


@dataclass(slots=True)
class Overload:
    """What was found, each by upstream and factor."""

    goodput: Values = field(default_factory=dict)
    """Percent of the capacity."""
    late: Values = field(default_factory=dict)
    """Seconds of the accepted, at the 99th percentile."""
    neighbours: Values = field(default_factory=dict)
    """Seconds of other models' calls, at the 99th percentile; infinite where one failed."""
    health: Values = field(default_factory=dict)
    """Seconds of health's answers, at the 99th percentile."""
    memory: Values = field(default_factory=dict)
    """Percent by which the services' memory grew."""
    afterwards: Values = field(default_factory=dict)
    """Seconds until a call took as long as before."""
    refused: Values = field(default_factory=dict)
    """Percent of the requests that got 429."""


def repository(folder: Path) -> None:
    """The models that are served there: the loaded one, and two neighbours.

    `identity` is known to be quick and runs where it arrives; runs of `other`, the same as `work`, need a worker.
    """
    for name, model in (("work", "work"), ("other", "work"), ("identity", "identity")):
        (folder / name).symlink_to(ROOT / "models" / model)


def _body(turns: int) -> bytes:
    x = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [1.0] * 16}
    return json.dumps({"inputs": [x, {"name": "turns", "datatype": "INT64", "shape": [1], "data": [turns]}]}).encode()


def _turns(ground: Ground) -> int:
    """How many turns of `work` take RUN_SECONDS here and now."""
    ask = HttpCaller(ground.gateway_port, _WORK, _body(2000))
    base = HttpCaller(ground.gateway_port, _WORK, _body(1))
    slope = (_fastest(ask) - _fastest(base)) / 2000
    return max(10, int(RUN_SECONDS / max(slope, 1e-7)))


def _fastest(ask: HttpCaller, times: int = 7) -> float:
    found = []
    for _ in range(times):
        began = time.monotonic()
        ask()
        found.append(time.monotonic() - began)
    return statistics.median(found)


def _streams(upstream: str, turns: int, rate: float) -> list[Stream]:
    fields = f"Inference-Upstream: {upstream}", f"Inference-Timeout-Ms: {round(DEADLINE_SECONDS * 1000)}"
    health = attack.head("GET", "/v2/health/ready", fields[0])
    return [
        Stream("work", rate, attack.post(_body(turns), _WORK, *fields), DEADLINE_SECONDS),
        Stream("quick", NEIGHBOUR_RATE, attack.post(attack.SMALL, attack.IDENTITY, *fields), DEADLINE_SECONDS),
        Stream("other", NEIGHBOUR_RATE, attack.post(_body(1), _OTHER, *fields), DEADLINE_SECONDS),
        Stream("health", NEIGHBOUR_RATE, health, DEADLINE_SECONDS),
    ]


def _overloaded(ground: Ground) -> Overload:
    """Every upstream in turn: its capacity by a load just above it, then each overload."""
    found = Overload()
    turns = _turns(ground)
    address = ("127.0.0.1", ground.gateway_port)
    for upstream in ground.upstreams:
        Load(address, _streams(upstream, turns, 20), 0.5).run()  # connections are open, the mean is known
        usual, resident = _usual(ground, upstream, turns), _resident(ground)
        capacity = _capacity(ground, upstream, turns)
        for factor in FACTORS:
            name = f"{upstream} at {factor}x"
            result = Load(address, _streams(upstream, turns, factor * capacity), LOAD_SECONDS).run()
            found.afterwards[name] = _recovery(ground, upstream, turns, usual)
            found.memory[name] = 100 * (_resident(ground) / resident - 1)
            after = _capacity(ground, upstream, turns)
            _note(found, name, result, (capacity + after) / 2)
            capacity = after
    return found


def _note(found: Overload, name: str, result: dict[str, Summary], capacity: float) -> None:
    work, neighbours, health = result["work"], (result["quick"], result["other"]), result["health"]
    found.goodput[name] = 100 * work.goodput / capacity
    found.late[name] = work.percentile(99)
    found.refused[name] = 100 * work.statuses.get(429, 0) / max(1, len(work.answers))
    found.neighbours[name] = max(map(_slowest, neighbours))
    found.health[name] = _slowest(health)


def _slowest(found: Summary) -> float:
    """Seconds at the 99th percentile; infinite where one failed."""
    return found.percentile(99) if found.share == 1 else float("inf")


def _capacity(ground: Ground, upstream: str, turns: int) -> float:
    """Answers a second with four callers, each of whom asks again when it has its answer."""
    fields = {"Inference-Upstream": upstream}
    with attack.Crowd(lambda: HttpCaller(ground.gateway_port, _WORK, _body(turns), **fields), 4) as crowd:
        time.sleep(_PROBE_SECONDS)
    return crowd.rate


def _usual(ground: Ground, upstream: str, turns: int) -> float:
    return _fastest(HttpCaller(ground.gateway_port, _WORK, _body(turns), Inference_Upstream=upstream))


def _recovery(ground: Ground, upstream: str, turns: int, usual: float) -> float:
    """Seconds until a call takes less than three times as long as without a load."""
    ask = HttpCaller(ground.gateway_port, _WORK, _body(turns), Inference_Upstream=upstream)
    began = time.monotonic()
    while time.monotonic() < began + 3 * AFTERWARDS_SECONDS:
        asked = time.monotonic()
        if ask() == 200 and time.monotonic() - asked < 3 * usual:
            break
    return time.monotonic() - began


def _resident(ground: Ground) -> int:
    return sum(attack.resident_bytes(service.pid) for service in (ground.model_server, ground.gateway))


def _goodput(ground: Ground) -> Figure:
    found = ground.once(_overloaded)
    note = f"429 for {min(found.refused.values()):.0f} to {max(found.refused.values()):.0f} % of all"
    return at_least(GOODPUT_PERCENT, found.goodput, "%", note)


PROMISES = (
    Promise(
        "overload.goodput",
        f"2 and 5 times the capacity: at least {GOODPUT_PERCENT:g} % of it answered within the deadline", _goodput,
    ),
    Promise(
        "overload.in-time", f"what is accepted ends in time: p99 below {DEADLINE_SECONDS:g} s",
        lambda ground: at_most(DEADLINE_SECONDS, ground.once(_overloaded).late),
    ),
    Promise(
        "overload.neighbours", f"other models' calls: 100 %, p99 below {NEIGHBOUR_SECONDS:g} s",
        lambda ground: at_most(NEIGHBOUR_SECONDS, ground.once(_overloaded).neighbours),
    ),
    Promise(
        "overload.health", f"readiness: 100 %, p99 below {HEALTH_SECONDS:g} s",
        lambda ground: at_most(HEALTH_SECONDS, ground.once(_overloaded).health),
    ),
    Promise(
        "overload.memory", f"memory grows by {MEMORY_PERCENT:g} % at most",
        lambda ground: at_most(MEMORY_PERCENT, ground.once(_overloaded).memory, "%"),
    ),
    Promise(
        "overload.afterwards", f"as before within {AFTERWARDS_SECONDS:g} s",
        lambda ground: at_most(AFTERWARDS_SECONDS, ground.once(_overloaded).afterwards),
    ),
)  # fmt: skip
