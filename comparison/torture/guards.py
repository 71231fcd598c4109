"""The guards that `--self-test` switches off one by one, each of which must cost exactly its own line.

The services that users start know no such switch. A guard is off by a setting that every operator has, or, where a bound is
none of an operator's business, in a process that `comparison.torture.unguarded` starts with an attribute of ours replaced
before anything else is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

VARIABLE = "CROSSOVER_TORTURE_OFF"
"""Environment variable that names the guard to switch off; `unguarded.py` alone reads it."""
_NEVER = 1e6
_ANY = 1 << 40


@dataclass(frozen=True, slots=True)
class Guard:
    """How one guard is switched off, and which line must fail then."""

    name: str
    line: str
    settings: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, Any] = field(default_factory=dict)
    """By `module:attribute` or `module:Class.attribute`, below `crossover`."""
    changed: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    """Likewise, by what is made of the present value."""
    also: frozenset[str] = frozenset()
    """Lines that may fail too, since they rest on the same guard."""


def _without(option: str) -> Callable[[Any], Any]:
    """Of a method that lists channel options: without this one."""

    def change(method: Any) -> Any:
        return lambda self: [one for one in method(self) if one[0] != option]

    return change


def _with_limits(**bounds: int) -> Callable[[Any], Any]:
    """Of the class of an HTTP/2 connection's limits: with other defaults."""

    def change(limits: Any) -> Any:
        return lambda **given: limits(**{**bounds, **given})

    return change


def _first_come(self: Any, _now: float) -> Any:
    """In place of `Executor._choice`: whose first request has waited longest."""
    free = [queue for queue in self._queues if len(queue) and queue.running < queue.most_running]
    return min(free, key=lambda queue: next(queue.in_order()).arrived, default=None)


def _nothing(*_: Any) -> None:
    pass


_HTTP1 = "transport.http1.limits:"
_HTTP2 = "transport.http2.limits:Limits"
_GRPCIO = "endpoints.grpc.serve:"
_SILENCE = "transport.silence:"
GUARDS = (
    Guard("head-bytes", "http.heads", replaced={f"{_HTTP1}MAX_HEAD_BYTES": _ANY}),
    Guard("fields", "http.fields", replaced={f"{_HTTP1}MAX_FIELDS": _ANY}),
    Guard("target-bytes", "http.targets", replaced={f"{_HTTP1}MAX_TARGET_BYTES": _ANY}),
    Guard("trailer-bytes", "http.trailers", replaced={f"{_HTTP1}MAX_TRAILER_BYTES": _ANY}),
    Guard("head-seconds", "http.slow-heads", settings={"HEAD_SECONDS": "600"}),
    Guard("body-seconds", "http.slow-bodies", settings={"BODY_SECONDS": "600"}),
    Guard("write-seconds", "http.unread-replies", settings={"WRITE_SECONDS": "600"}),
    Guard("lookahead", "http.pipelining", replaced={f"{_HTTP1}LOOKAHEAD_BYTES": _ANY}),
    Guard("connections", "http.connections", settings={"MAX_CONNECTIONS": "10000"}),
    Guard("off-loop", "http.hostile-json", replaced={"protocol.limits:is_heavy": lambda _: False}),
    Guard(
        "memory", "http.memory-in-flight", settings={"MAX_IN_FLIGHT_BYTES": str(_ANY)},
        also=frozenset({"http.unread-replies"}),  # it bounds what they hold, too
    ),
    Guard("idle-frames", "lean.idle-frames", changed={_HTTP2: _with_limits(idle_frames=_ANY)}),
    Guard("resets", "lean.resets", changed={_HTTP2: _with_limits(resets=_ANY)}),
    Guard("faults", "lean.faults", changed={_HTTP2: _with_limits(faults=_ANY)}),
    Guard("streams", "grpcio.resets", replaced={f"{_GRPCIO}MOST_STREAMS": (1 << 31) - 1}),
    Guard(
        "unread-pings", "grpcio.unread-pings",
        changed={f"{_GRPCIO}GrpcListener._channel_options": _without("grpc.http2.max_ping_strikes")},
    ),
    Guard(
        "admission", "overload.goodput",
        replaced={
            "model_server.executor:Executor._admit": _nothing,
            "model_server.model_queue:ModelQueue._too_late": lambda *_: False,
            "model_server.model_queue:ModelQueue.without_chance": lambda *_: [],
        },
        also=frozenset({f"overload.{name}" for name in ("in-time", "neighbours", "health", "afterwards", "memory")}),
    ),
    Guard(
        "fair-queueing", "overload.neighbours", replaced={"model_server.executor:Executor._choice": _first_come},
    ),
    Guard("reading", "faults.start", replaced={"model_server.repository:Repository.check_started": _nothing}),
    Guard("prompt-health", "faults.readiness", replaced={"rest_gateway.prompt:PROMPT_SECONDS": _NEVER}),
    Guard(
        "silence", "faults.half-open",
        replaced={f"{_SILENCE}SILENT_SECONDS": _NEVER, f"{_SILENCE}GIVEN_UP_SECONDS": _NEVER},
    ),
    Guard("drain", "drain.restarts", settings={"DRAIN_SECONDS": "0"}),
    Guard("isolation", "isolation.crash", settings={"MODEL_ISOLATION": "none"}),
    Guard("origins", "doors.origins", settings={"CORS_ALLOW_ORIGINS": "*"}),
    Guard("hosts", "doors.hosts", settings={"ALLOWED_HOSTS": "*"}),
    Guard("keys", "doors.keys", settings={"API_KEYS_FILE": ""}),
)  # fmt: skip
BY_NAME = {guard.name: guard for guard in GUARDS}


def switch_off(environment: dict[str, str] | None = None) -> None:
    """Replace what the guard that the environment names rests on. Call it before the services' modules are imported."""
    name = (os.environ if environment is None else environment).pop(VARIABLE)
    guard = BY_NAME[name]
    for path, value in guard.replaced.items():
        owner, attribute = _owner(path)
        setattr(owner, attribute, value)
    for path, change in guard.changed.items():
        owner, attribute = _owner(path)
        setattr(owner, attribute, change(getattr(owner, attribute)))


def _owner(path: str) -> tuple[Any, str]:
    module, _, names = path.partition(":")
    owner: Any = import_module(f"crossover.{module}")
    *inner, attribute = names.split(".")
    for name in inner:
        owner = getattr(owner, name)
    if not hasattr(owner, attribute):
        raise AttributeError(f"there is no {path} to switch off")
    return owner, attribute
