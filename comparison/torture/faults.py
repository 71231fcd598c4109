"""A model server that is killed, stopped, or behind connections that carry nothing any more; on every remote upstream."""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from crossover.comparison.torture import attack
from crossover.comparison.torture.frozen import Proxy
from crossover.comparison.torture.ground import ask
from crossover.comparison.torture.promise import Figure, Promise, Values, at_most, skipped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from crossover.comparison.torture.ground import Ground

SETTINGS: dict[str, str] = {}
AT_ONCE_SECONDS, BACK_SECONDS, READINESS_SECONDS, SILENT_SECONDS = 0.5, 1.0, 1.0, 5.0
_AWAY_SECONDS = 3.0
_MOST_SECONDS = 15.0
_NO_UPSTREAM = "no upstream is another process"


@dataclass(frozen=True, slots=True)
class Answer:
    began: float
    ended: float
    status: int


@dataclass(slots=True)
class Caller:
    """Asks by one upstream, ten times a second whether earlier calls were answered or not, with the default deadline."""

    ground: Ground
    upstream: str
    port: int
    answers: list[Answer] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def first(self, status: int, after: float) -> float | None:
        """When an answer with this status came to a call that began after a moment."""
        found = [one.ended for one in list(self.answers) if one.status == status and one.began >= after]
        return min(found, default=None)

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            threading.Thread(target=self._call, daemon=True).start()

    def _call(self) -> None:
        began = time.monotonic()
        fields = {"Inference_Upstream": self.upstream}
        status, taken = ask(self.port, attack.IDENTITY, attack.SMALL, _MOST_SECONDS, **fields)
        self.answers.append(Answer(began, began + taken, status))


class Callers:
    """One on each upstream."""

    def __init__(self, ground: Ground, upstreams: Sequence[str], port: int = 0) -> None:
        self.all = [Caller(ground, name, port or ground.gateway_port) for name in upstreams]

    def __enter__(self) -> Self:
        for caller in self.all:
            caller.start()
        self.wait(lambda caller: caller.first(200, 0.0) is not None)
        return self

    def __exit__(self, *_: object) -> None:
        for caller in self.all:
            caller.stop()

    def wait(self, condition: Callable[[Caller], bool], seconds: float = _MOST_SECONDS) -> None:
        until = time.monotonic() + seconds
        while not all(map(condition, self.all)) and time.monotonic() < until:
            time.sleep(0.05)

    def seconds_to(self, status: int, moment: float) -> Values:
        """By upstream, from a moment to the first answer with this status to a call that began after it."""
        firsts = {caller.upstream: caller.first(status, moment) for caller in self.all}
        return {name: float("inf") if at is None else at - moment for name, at in firsts.items()}


@dataclass(slots=True)
class Killed:
    """What kill -9 and a new start of the model server were to callers, by upstream."""

    refused: Values
    """Seconds from the kill to the first 503."""
    slowest: Values
    """Seconds of the slowest answer while the model server was away."""
    back: Values
    """Seconds from its readiness to the first success."""
    other: dict[str, int]
    """Statuses that are neither 200 nor 503, and by how many calls they were seen."""


def _killed(ground: Ground) -> Killed:
    with Callers(ground, ground.remote) as callers:
        ground.model_server.kill()
        killed = time.monotonic()
        time.sleep(_AWAY_SECONDS)
        gone = time.monotonic()
        ground.model_server = ground.start_model_server()
        _await_ready(ground)
        ready = time.monotonic()
        callers.wait(lambda caller: caller.first(200, ready) is not None)
        time.sleep(0.3)
    other: dict[str, int] = {}
    slowest = {}
    for caller in callers.all:
        away = [one for one in caller.answers if killed <= one.began and one.ended <= gone]
        slowest[caller.upstream] = max((one.ended - one.began for one in away), default=float("inf"))
        for one in caller.answers:
            if one.status not in (200, 503):
                other[f"{one.status} by {caller.upstream}"] = other.get(f"{one.status} by {caller.upstream}", 0) + 1
    return Killed(callers.seconds_to(503, killed), slowest, callers.seconds_to(200, ready), other)


def _await_ready(ground: Ground) -> None:
    ground.model_server.await_ready(30)


def _at_once(ground: Ground) -> Figure:
    if not ground.remote:
        return skipped(_NO_UPSTREAM)
    found = ground.once(_killed)
    seconds = {name: max(found.refused[name], found.slowest[name]) for name in found.refused}
    return at_most(AT_ONCE_SECONDS, seconds)


def _back(ground: Ground) -> Figure:
    return at_most(BACK_SECONDS, ground.once(_killed).back) if ground.remote else skipped(_NO_UPSTREAM)


def _start(ground: Ground) -> Figure:
    """While the repository of a starting model server has not been read: 503, never 404."""
    seen: dict[int, int] = {}
    port = ground.ports["MODEL_SERVER_HTTP_PORT"]
    ground.model_server.stop(5)
    repository = ground.folder / "many"
    repository.mkdir(exist_ok=True)
    digits = ground.models / "digits"
    for number in range(150):
        copy = repository / f"copy-{number:03}"
        copy.mkdir(exist_ok=True)
        if not (copy / "1").exists():
            (copy / "1").symlink_to(digits / "1")
    for name in ("identity", "sized", "work"):
        if not (repository / name).exists():
            (repository / name).symlink_to(ground.models / name)
    ground.model_server = ground.start_model_server(MODEL_REPOSITORY=str(repository))
    ask = attack.HttpCaller(port)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        status = ask()
        seen[status] = seen.get(status, 0) + 1
        if status == 200:
            break
        time.sleep(0.002)
    _await_ready(ground)
    refused = {status: count for status, count in seen.items() if status not in (0, 200)}
    text = ", ".join(f"{count} times {status}" for status, count in sorted(refused.items())) or "no answer before 200"
    kept = set(refused) == {503} and 200 in seen
    return Figure(kept, f"{text}, then 200", {str(status): count for status, count in refused.items()})


@dataclass(slots=True)
class Stopped:
    """What a model server that was stopped (SIGSTOP) and went on was, by upstream."""

    readiness: Values
    back: Values


def _stopped(ground: Ground) -> Stopped:
    readiness: Values = {}
    with Callers(ground, ground.remote) as callers:
        ground.model_server.signal(signal.SIGSTOP)
        try:
            for name in ground.remote:
                status, seconds = ground.ask("/v2/health/ready", None, 5, Inference_Upstream=name)
                readiness[name] = seconds if status == 503 else float("inf")
            time.sleep(1)
        finally:
            ground.model_server.signal(signal.SIGCONT)
        went_on = time.monotonic()
        callers.wait(lambda caller: caller.first(200, went_on) is not None)
        back = callers.seconds_to(200, went_on)
    return Stopped(readiness, back)


def _readiness(ground: Ground) -> Figure:
    return at_most(READINESS_SECONDS, ground.once(_stopped).readiness) if ground.remote else skipped(_NO_UPSTREAM)


def _stop(ground: Ground) -> Figure:
    return at_most(SILENT_SECONDS, ground.once(_stopped).back) if ground.remote else skipped(_NO_UPSTREAM)


def _half_open(ground: Ground) -> Figure:
    """Connections between gateway and model server that carry nothing any more, while new ones work."""
    if not ground.remote:
        return skipped(_NO_UPSTREAM)
    with Proxy(ground.grpc_port) as over_grpc, Proxy(ground.ports["MODEL_SERVER_HTTP_PORT"]) as over_rest:
        gateway = ground.start_gateway(
            GATEWAY_GRPC_TARGET=f"127.0.0.1:{over_grpc.port}",
            GATEWAY_REST_TARGET=f"http://127.0.0.1:{over_rest.port}",
            DATA_DIR=str(ground.folder / "half-open"),
        )
        try:
            gateway.await_ready()
            with Callers(ground, ground.remote, gateway.ready_at[1]) as callers:
                for proxy in (over_grpc, over_rest):
                    proxy.freeze()
                frozen = time.monotonic()
                callers.wait(lambda caller: caller.first(200, frozen) is not None)
                found = callers.seconds_to(200, frozen)
        finally:
            gateway.kill()
    return at_most(SILENT_SECONDS, found)


def _statuses(ground: Ground) -> Figure:
    """No call, whatever became of the model server, got anything but an answer or 503."""
    if not ground.remote:
        return skipped(_NO_UPSTREAM)
    other = ground.once(_killed).other
    text = ", ".join(f"{count} times {status}" for status, count in other.items()) or "200 and 503 alone"
    return Figure(not other, text, dict(other))


PROMISES = (
    Promise("faults.start", "until the repository has been read: 503, never 404", _start),
    Promise("faults.kill", f"kill -9 of the model server: 503 within {AT_ONCE_SECONDS:g} s", _at_once),
    Promise("faults.statuses", "nothing but 200 and 503 while it is away and starts", _statuses),
    Promise("faults.return", f"served within {BACK_SECONDS:g} s of its return", _back),
    Promise(
        "faults.readiness", f"the model server stopped (SIGSTOP): readiness says 503 within {READINESS_SECONDS:g} s", _readiness
    ),
    Promise("faults.stopped", f"first success within {SILENT_SECONDS:g} s of its going on", _stop),
    Promise(
        "faults.half-open", f"connections that carry nothing: first success within {SILENT_SECONDS:g} s", _half_open
    ),
)  # fmt: skip
