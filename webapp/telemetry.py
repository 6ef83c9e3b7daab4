"""Spans for OpenTelemetry, sent by OTLP over HTTP.  Its own variables (OTEL_…) choose where to, what is sampled, and the name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from webapp.tracing import Headers, Span, Tracer

SERVICE = "digits-gateway"
ROUTE = "/api/predict"


class RecordingTracer(Tracer):
    """Begins a span for every request, the caller's child if it sent a traceparent."""

    def __init__(self) -> None:
        resource = Resource({"service.name": SERVICE}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, sent: Headers, arrived: float, request_id: str) -> Span:
        """A request begins."""
        parent = self._propagator.extract(sent._asdict()) if sent.traceparent else None
        began = time.time_ns() - int((time.monotonic() - arrived) * 1e9)
        attributes = {"http.request.method": "POST", "http.route": ROUTE, "digits.request_id": request_id}
        span = self._tracer.start_span(f"POST {ROUTE}", parent, SpanKind.SERVER, attributes, start_time=began)
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return RecordedSpan(span, Headers(**carrier))


class RecordedSpan(Span):
    """A span on its way to the collector."""

    def __init__(self, span: OtelSpan, headers: Headers) -> None:
        super().__init__(format_trace_id(span.get_span_context().trace_id), headers)
        self._span = span

    def end(self, status: int, facts: Mapping[str, Any]) -> None:
        """The request is answered."""
        span = self._span
        span.set_attribute("http.response.status_code", status)
        for name in ("images", "digit", "version"):
            if name in facts:
                span.set_attribute(f"digits.{name}", facts[name])
        for stage, ms in facts.get("timing_ms", {}).items():
            span.set_attribute(f"digits.{stage}_ms", ms)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()
