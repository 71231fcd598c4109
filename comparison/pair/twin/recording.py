"""What a service was asked and answered, and how long it took; kept as JSON lines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

WHOLE = "body"
"""The field of a message that carries a document which is no object."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One row's request and reply, as both wires carry them."""

    row: dict[str, Any]
    message: dict[str, Any]
    """The gRPC request in proto3 JSON."""
    target: str
    """Path and query of the HTTP request."""
    body: Any
    """Its JSON body; None: it has none."""
    reply: Any
    """The HTTP reply's JSON; None: it has no body."""
    reply_message: dict[str, Any]
    latency_ms: tuple[float, ...]
    """Each call's time as the caller saw it, one at a time on an open connection."""
    service_ms: float
    """The median of it, without a round trip of the network."""


@dataclass(frozen=True, slots=True)
class Route:
    """The HTTP side: one method and one path, which may hold places."""

    method: str
    path: str
    status: int
    has_body: bool


def as_message(document: Any) -> dict[str, Any]:
    """A JSON document as what a message can be: an object."""
    if document is None:
        return {}
    return document if isinstance(document, dict) else {WHOLE: document}


def write(folder: Path, route: Route, call: str, recorded: Iterable[Recorded]) -> None:
    (folder / "route.json").write_text(json.dumps({"call": call, **asdict(route)}) + "\n")
    with (folder / "recording.jsonl").open("w") as file:
        file.writelines(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in recorded)


def read(folder: Path) -> tuple[Route, str, list[Recorded]]:
    """Route, call and rows of a recording."""
    kept = json.loads((folder / "route.json").read_text())
    call = kept.pop("call")
    lines = (folder / "recording.jsonl").read_text().splitlines()
    return Route(**kept), call, [Recorded(**json.loads(line)) for line in lines]


def canonical(document: Any) -> str:
    """The same text for the same document, whatever the order of its fields."""
    return json.dumps(document, sort_keys=True, ensure_ascii=False)
