"""Spans over OTLP (HTTP, protobuf), by OpenTelemetry's SDK: what requirements/otel.txt installs.

The SDK reads its other variables itself: OTEL_EXPORTER_OTLP_HEADERS, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_... and so on.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from crossover import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossover.service.tracing import Span

log = logging.getLogger("crossover.tracing")

_KINDS = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_TIMEOUT_SECONDS = 2.0
"""For one batch: an unreachable collector must not delay the end of the service."""


class _Exporter(OTLPSpanExporter):
    """Says once that the collector takes nothing and once that it does again, where the SDK says two things a batch."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout=_TIMEOUT_SECONDS)
        parts = urlsplit(url)
        self._where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self._fails = False
        logging.getLogger(OTLPSpanExporter.__module__).setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = super().export(spans)
        fails = result is not SpanExportResult.SUCCESS
        if fails and not self._fails:
            log.warning("the collector at %s takes no spans; they are lost until it does", self._where)
        elif self._fails and not fails:
            log.warning("the collector at %s takes spans again", self._where)
        self._fails = fails
        return result


class OtlpExport:
    """Hands spans to a thread that sends them in batches, and drops those beyond its queue."""

    def __init__(self, url: str, service: str) -> None:
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
        self._resource = Resource.create({**named, "service.version": VERSION})
        self._scope = InstrumentationScope("crossover", VERSION)
        self._processor = BatchSpanProcessor(_Exporter(url))

    def add(self, span: Span) -> None:
        state = TraceState.from_header([span.state]) if span.state else None
        parent = None
        if span.parent_id:
            parent = SpanContext(span.trace_id, span.parent_id, span.parent_is_remote, _SAMPLED, state)
        self._processor.on_end(
            ReadableSpan(
                span.name,
                SpanContext(span.trace_id, span.span_id, False, _SAMPLED, state),
                parent,
                self._resource,
                span.attributes,
                kind=_KINDS[span.kind],
                status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
                start_time=span.start,
                end_time=span.end,
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        self._processor.shutdown()  # type: ignore[no-untyped-call]
