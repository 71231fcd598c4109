"""Traces: spans of the request, its hop, its queue and its model, made from the timeline's stamps after the reply.

W3C Trace Context decides what is sampled: a caller's `traceparent` by its flag, a request without one by a share of our own.
A request that is not sampled costs one look at its headers, and nothing where OTEL_EXPORTER_OTLP_ENDPOINT is not set.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from crossover.protocol.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from crossover.protocol.errors import Code
    from crossover.protocol.inference import CallContext
    from crossover.service.settings import ServiceSettings

Attributes: TypeAlias = "Mapping[str, str | int]"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 1
_TRACES = "/v1/traces"
_PROTOCOL = "http/protobuf"


@dataclass(frozen=True, slots=True)
class Span:
    """One span; ids are numbers, times are nanoseconds of the epoch. `kind` is server, client, consumer or internal."""

    name: str
    kind: str
    trace_id: int
    span_id: int
    parent_id: int
    """0: it has none."""
    parent_is_remote: bool
    state: str
    """`tracestate` as it came."""
    start: int
    end: int
    attributes: Attributes
    error: str = ""
    """Why it failed; empty where it did not, or where that is the caller's fault."""


class Export(Protocol):
    """Where spans go."""

    def add(self, span: Span) -> None: ...

    def close(self) -> None:
        """Send what is there; blocks for some seconds at most."""
        ...


@dataclass(slots=True)
class Trace:
    """A request that is sampled."""

    trace_id: int
    parent_id: int
    state: str
    began: int
    """Monotonic nanoseconds."""
    span_id: int = field(default_factory=lambda: _new_id(64))
    hops: list[tuple[int, CallContext, Timeline | None]] = field(default_factory=list)
    """The calls made for it, each with the id of its span, and with its timeline where that is known by now."""
    tells_timeline: bool = True
    """Whether the caller asked for the timeline."""
    kind: str = "server"
    queued: int | None = None
    """When the work was put into a queue, in monotonic nanoseconds; None: it did not wait in one."""

    @property
    def text(self) -> str:
        """The trace as text for work that is done later: `traceparent`, a blank, `tracestate`."""
        return f"{self._parent_of(self.span_id)} {self.state}".rstrip()

    def _parent_of(self, span: int) -> str:
        return f"00-{self.trace_id:032x}-{span:016x}-01"

    def follow(self, context: CallContext) -> None:
        """The call of `context` belongs to this trace: its `traceparent` names a span of its own."""
        hop = _new_id(64)
        context.headers["traceparent"] = self._parent_of(hop)
        if self.state:
            context.headers["tracestate"] = self.state
        self.hops.append((hop, context, context.timeline))


current: ContextVar[Trace | None] = ContextVar("trace", default=None)
"""Of the request that this task answers, where requests become several calls."""


def trace_text() -> str:
    """The current request's trace as text for the work that it queues; empty where it is not sampled."""
    trace = current.get()
    return trace.text if trace is not None else ""


class Tracer:
    """Decides what is sampled, and turns stamps into spans."""

    def __init__(self, export: Export, share: float) -> None:
        """`share`: of requests that bring no `traceparent`, from 0 to 1."""
        self._export = export
        self._share = share

    def begin(self, context: CallContext, began: int | None = None) -> Trace | None:
        """The trace of a call, whose hop it follows and whose timeline is stamped from now on; None: not sampled.

        `began`: when, in monotonic nanoseconds, if not now.
        """
        trace = self.sampled(context.headers)
        if trace is None:
            return None
        if context.timeline is None:
            trace.tells_timeline = False
            context.timeline = Timeline()
        if began is not None:
            trace.began = began
        trace.follow(context)
        return trace

    def sampled(self, headers: dict[str, str]) -> Trace | None:
        """The trace that a request's headers belong to, or begin; None: not sampled."""
        header = headers.get("traceparent")
        parent = _PARENT.fullmatch(header.strip(" ")) if header is not None else None
        if parent is not None and _is_valid(parent):
            if not int(parent[4], 16) & _SAMPLED:
                return None
            return Trace(int(parent[2], 16), int(parent[3], 16), headers.get("tracestate", ""), time.monotonic_ns())
        if random.random() >= self._share:
            return None
        headers.pop("tracestate", None)  # without a parent it means nothing (Trace Context 3.3)
        return Trace(_new_id(128), 0, "", time.monotonic_ns())

    def resumed(self, text: str, queued_at: int) -> Trace | None:
        """The trace of work that a request queued with `text`, at `queued_at` (microseconds of the epoch); None: not sampled."""
        parent, _, state = text.partition(" ")
        trace = self.sampled({"traceparent": parent, "tracestate": state}) if text else None
        if trace is not None:
            trace.kind = "consumer"
            trace.queued = min(trace.began, queued_at * 1000 - _epoch_shift())
        return trace

    def end(
        self, trace: Trace, name: str, attributes: Attributes, code: Code | None, upstream: str | None = None
    ) -> None:
        """The reply is about to leave; the spans are made when it has. `code` is None when it succeeded."""
        ended = time.monotonic_ns()
        asyncio.get_running_loop().call_soon(self._record, trace, name, attributes, code, upstream, ended)

    def _record(
        self, trace: Trace, name: str, attributes: Attributes, code: Code | None, upstream: str | None, ended: int
    ) -> None:
        for span in _spans(trace, name, attributes, code, upstream, ended):
            self._export.add(span)

    async def close(self) -> None:
        """Send the remaining spans."""
        await asyncio.to_thread(self._export.close)


def tracer_of(settings: ServiceSettings, service: str) -> Tracer | None:
    """The service's tracer, None where tracing is off; ValueError, one sentence, without the packages that it needs."""
    endpoint = settings.otel_exporter_otlp_endpoint
    if not endpoint:
        return None
    _check_protocol()
    try:
        from crossover.service.otlp import OtlpExport
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith(("opentelemetry", "requests")):
            raise
        raise ValueError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT needs '{error.name}': pip install 'crossover[otel]', or "
            "requirements/otel.txt in a checkout"
        ) from None
    url = endpoint if endpoint.endswith(_TRACES) else endpoint.rstrip("/") + _TRACES
    return Tracer(OtlpExport(url, service), settings.otel_traces_sampler_arg)


def _check_protocol() -> None:
    """ValueError for a protocol that OpenTelemetry's variables ask for and that is not spoken here."""
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(name, "")
        if protocol not in ("", _PROTOCOL):
            raise ValueError(
                f"{name} is '{protocol[:40]}'; spans go out by {_PROTOCOL} alone, to port 4318 of most collectors"
            )


def _spans(
    trace: Trace, name: str, attributes: Attributes, code: Code | None, upstream: str | None, ended: int
) -> Iterator[Span]:
    """The request's own, then those of each call made for it; a part that was not reached has none."""
    shift = _epoch_shift()

    def span(
        name: str, kind: str, start: int, end: int, span_attributes: Attributes, error: str = "", *,
        own: int | None = None, parent: int = trace.span_id,
    ) -> Span:  # fmt: skip
        remote = parent == trace.parent_id != 0
        times = start + shift, end + shift
        return Span(
            name, kind, trace.trace_id, own or _new_id(64), parent, remote, trace.state, *times, span_attributes, error
        )

    failed = code.name if code is not None and code.status.http >= 500 else ""
    span_attributes = attributes if code is None else {**attributes, "error.type": code.name}
    yield span(name, trace.kind, trace.began, ended, span_attributes, failed, own=trace.span_id, parent=trace.parent_id)
    if trace.queued is not None:
        yield span("wait", "internal", trace.queued, trace.began, {}, parent=trace.parent_id)
    for hop, context, finished_timeline in trace.hops:
        timeline = finished_timeline or context.timeline
        stamps = timeline.stamps if timeline is not None else {}
        if "sent" in stamps:
            answered = stamps.get("answered")
            to = {"crossover.upstream": upstream} if upstream else {}
            yield span("hop", "client", stamps["sent"], answered or ended, to, "" if answered else failed, own=hop)
        if "started" in stamps:
            started, finished = stamps["started"], stamps.get("finished")
            yield span("queue", "internal", stamps.get("decoded", started), started, {})
            yield span("model", "internal", started, finished or ended, {}, "" if finished else failed)


def _epoch_shift() -> int:
    """The difference between nanoseconds of the epoch and monotonic ones."""
    return time.time_ns() - time.monotonic_ns()


def _is_valid(parent: re.Match[str]) -> bool:
    """Trace Context 3.2.2: no version ff, nothing behind version 00, and no id of zeros."""
    version, trace, span, _, more = parent.groups()
    return version != "ff" and not (version == "00" and more) and int(trace, 16) != 0 and int(span, 16) != 0


def _new_id(bits: int) -> int:
    return random.getrandbits(bits) or 1
