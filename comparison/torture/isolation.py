"""A model whose run ends the process that it runs in."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from crossover.comparison.torture.attack import HttpCaller, Neighbour
from crossover.comparison.torture.ground import OWN_MODELS
from crossover.comparison.torture.promise import Figure, Promise
from crossover.stack.services import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from crossover.comparison.torture.ground import Ground

SETTINGS = {"MODEL_ISOLATION": "process"}
AGAIN_SECONDS = 2.0
_DIVIDING = "/v2/models/dividing/infer"


def repository(folder: Path) -> None:
    """The models that are served there."""
    for path in (OWN_MODELS / "dividing", ROOT / "models" / "identity"):
        (folder / path.name).symlink_to(path)


def _quotient(x: int, d: int) -> bytes:
    inputs = [
        {"name": name, "datatype": "INT32", "shape": [1], "data": [value]} for name, value in (("x", x), ("d", d))
    ]
    return json.dumps({"inputs": inputs}).encode()


def _crash(ground: Ground) -> Figure:
    """A division that ends its process (SIGFPE on x86): 503 for that call, and nobody else notices."""
    right = HttpCaller(ground.gateway_port, _DIVIDING, _quotient(6, 3))
    fatal = HttpCaller(ground.gateway_port, _DIVIDING, _quotient(-(2**31), -1))
    right()
    again = 0.0
    statuses: set[int] = set()
    with Neighbour(HttpCaller(ground.gateway_port), ground.model_server.pid) as others:
        for _ in range(3):
            statuses.add(fatal())
            crashed = time.monotonic()
            while right() != 200 and time.monotonic() < crashed + 10:
                time.sleep(0.02)
            again = max(again, time.monotonic() - crashed)
    kept = statuses == {503} and not others.failed and again < AGAIN_SECONDS and others.longest < AGAIN_SECONDS
    told = " and ".join(str(status or "no answer") for status in sorted(statuses))
    return Figure(
        kept, f"{told}, the model again after {again:.2f} s; {others.text}", {"again": again, "others": others.longest}
    )


PROMISES = (
    Promise(
        "isolation.crash", f"a run that crashes: 503 for it alone, its model again within {AGAIN_SECONDS:g} s, others unharmed",
        _crash,
    ),
)  # fmt: skip
