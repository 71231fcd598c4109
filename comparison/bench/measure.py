"""Rounds over all points, in a new random order each, so that a slow minute of the machine hits every point alike."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from crossover.comparison.bench.points import ENGINE, POINTS
from crossover.comparison.bench.services import SHAPES, engine_ns
from crossover.comparison.design import outcomes as out
from crossover.comparison.design import schedule
from crossover.comparison.load import hop
from crossover.comparison.load.drive import Work
from crossover.comparison.load.generator import Generator
from crossover.comparison.load.http1 import request_bytes
from crossover.protocol.codecs.binary import codec as binary_codec
from crossover.protocol.codecs.json import codec as json_codec
from crossover.protocol.codecs.protobuf import codec as protobuf_codec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crossover.comparison.bench.points import Point
    from crossover.comparison.bench.services import Question, Services
    from crossover.comparison.design.outcomes import Record
    from crossover.protocol.messages import InferRequest

_PROBE, _FEWEST = 40, 20
_SETTLE_SECONDS = 0.02
_TOGETHER = 1e-5
"""Relative difference that rows computed together may have from rows computed alone."""
_CALLERS = "crossover.comparison.bench.callers:Driver"


class BenchError(RuntimeError):
    """A point did not work, in one sentence."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One point in one round."""

    cpu_us: float
    """CPU time per request of what the point charges, µs."""
    p50_us: float
    """Median of what the caller waited, µs; 0 for the engine, which has no caller."""
    rate: float
    """Requests answered per second."""


class Bench:
    """Measures points on running services."""

    def __init__(self, services: Services, seconds: float) -> None:
        self._services, self._seconds = services, seconds
        self._counts: dict[str, int] = {}
        self._rest, self._callers = Generator(), Generator(_CALLERS)

    def close(self) -> None:
        self._rest.close()
        self._callers.close()

    def round(self, number: int, names: list[str], tell: Callable[[str], None]) -> dict[str, Figure]:
        """Every point once. The engine's floors are part of each round, since the machine's speed drifts."""
        found: dict[str, Figure] = {}
        for payload in SHAPES:
            spent = engine_ns(payload, self._seconds / 4)
            found[ENGINE[payload]] = Figure(spent / 1000, 0.0, 1e9 / spent)
        for index in np.random.default_rng(number).permutation(len(names)):
            tell(names[index])
            found[names[index]] = self.measured(POINTS[names[index]])
        return found

    def measured(self, point: Point) -> Figure:
        """One slice of the point, after as many requests as warm it up."""
        if point.name not in self._counts:
            self._counts[point.name] = self._count_for(point)
        else:
            self._run(point, _FEWEST)
        charged = self._services.charged(point)
        time.sleep(_SETTLE_SECONDS)
        before = self._services.cpu_ns(charged)
        record = self._run(point, self._counts[point.name])
        time.sleep(_SETTLE_SECONDS)
        spent = record.cpu_ns if point.caller_pays else self._services.cpu_ns(charged) - before
        taken = record.requests[:, out.DONE] - record.requests[:, out.SENT]
        count = len(record.requests)
        return Figure(spent / count / 1000, float(np.median(taken)) / 1000, count / record.wall_ns * 1e9)

    def _count_for(self, point: Point) -> int:
        """As many requests as take about the slice's time, found by trying."""
        self._run(point, _PROBE)
        count = _PROBE
        for _ in range(2):
            record = self._run(point, count)
            count = max(_FEWEST, round(count / record.wall_ns * 1e9 * self._seconds))
        return count

    def _run(self, point: Point, count: int) -> Record:
        question = self._services.questions[point.payload]
        plan = schedule.closed(count, len(question.requests), 0)
        if point.over_rest:
            record = self._rest.run(self._rest_work(point, question, plan))
        else:
            record = self._callers.run(self._caller_work(point, question, plan))
        if (record.requests[:, out.OUTCOME] != out.OK).any():
            raise BenchError(f"'{point.name}' does not work: {record.complaint or 'requests were not answered'}")
        return record

    def _rest_work(self, point: Point, question: Question, plan: schedule.Schedule) -> Work:
        address, gateway = self._services.address(point.service), self._services.gateway(point)
        more, tls = (gateway.headers, gateway.tls) if gateway is not None else ({}, None)
        whole = [_whole(point, request, address, more) for request in question.requests]
        upstream = point.upstream or None
        return Work(address, whole, question.expected, plan, point.callers, upstream, tls=tls, tolerance=_TOGETHER)

    def _caller_work(self, point: Point, question: Question, plan: schedule.Schedule) -> hop.Work:
        messages = [protobuf_codec.encode_request(request) for request in question.requests]
        service = "model server" if point.caller_pays and point.wire == "bare-aiohttp" else point.service
        target = self._services.target(service)
        return hop.Work(point.wire, target, messages, question.expected, plan, point.callers, tolerance=_TOGETHER)


def _whole(point: Point, request: InferRequest, address: tuple[str, int], more: Mapping[str, str]) -> bytes:
    """The HTTP request, head and body; `more` are headers beside those of its form."""
    headers = {"content-type": "application/json"}
    if point.wire == "rest-binary":
        encoded = binary_codec.encode_request(request)
        body = b"".join(encoded.parts)
        headers = {"content-type": "application/octet-stream",
                   "inference-header-content-length": str(encoded.header_length)}  # fmt: skip
    else:
        body = json_codec.encode_request(request)
    if point.upstream:
        headers["inference-upstream"] = point.upstream
    headers |= more
    path, host = f"/v2/models/{request.model_name}/infer", f"{address[0]}:{address[1]}"
    return request_bytes("POST", path, host, headers, body)


def measure(
    services: Services, names: list[str], rounds: int, seconds: float, tell: Callable[[str], None]
) -> list[dict[str, Figure]]:
    """The figures of each round by point."""
    bench = Bench(services, seconds)
    try:
        return [bench.round(number, names, lambda text, n=number: tell(f"round {n + 1}/{rounds}  {text}"))  # type: ignore[misc]
                for number in range(rounds)]  # fmt: skip
    finally:
        bench.close()


def documents(rounds: list[dict[str, Figure]]) -> list[dict[str, dict[str, float]]]:
    """The rounds as JSON has them."""
    return [{name: asdict(figure) for name, figure in found.items()} for found in rounds]


def own_memory_copy_us(size: int, times: int = 200) -> float:
    """What copying `size` bytes once costs here, in µs: the median over buffers too large for the cache together."""
    buffers = [np.frombuffer(os.urandom(size), np.uint8) for _ in range(64)]
    targets = [np.zeros(size, np.uint8) for _ in range(64)]
    taken = []
    for n in range(times):
        began = time.perf_counter_ns()
        np.copyto(targets[n % 64], buffers[n % 64])
        taken.append(time.perf_counter_ns() - began)
    return float(np.median(taken)) / 1000
