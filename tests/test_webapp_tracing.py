"""Traces: passed on without OpenTelemetry, recorded with it."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from PIL import Image

from tests.conftest import Server
from tests.gateway import ONE, encoded, gateway
from webapp import tracing
from webapp.tracing import Headers

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """An OTLP collector on loopback, to which the environment points: what it was sent."""
    exports: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            exports.append(ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "drawings")
    yield exports
    server.shutdown()
    server.server_close()


def spans(exports: list[Any]) -> list[Any]:
    return [span for one in exports for resource in one.resource_spans for scope in resource.scope_spans for span in scope.spans]


def facts(span: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_every_answer_is_a_span_of_the_callers_trace(collector: list[Any], digits_server: Server, tmp_path: Path) -> None:
    blank = encoded(Image.new("RGB", (280, 280), "white"))
    with gateway(tmp_path, digits_server.target, web_workers=1) as web:
        for path in ("/api/predict", "/api/predict?top=2"):
            assert web.ask(path, ONE, headers={"traceparent": HEADER, "X-Request-Id": "mine"}).status == 200
        assert web.ask(body=blank, headers={"X-Request-Id": "blank"}).status == 422
        assert web.ask(body=b"{", headers={"X-Request-Id": "unread"}).status == 400
        assert web.ask("/api/predict?top=0", ONE, headers={"X-Request-Id": "unread"}).status == 400
        until = time.monotonic() + 10
        while len(spans(collector)) < 5 and time.monotonic() < until:
            time.sleep(0.05)
    found = spans(collector)
    assert {value.value.string_value for one in collector for resource in one.resource_spans
            for value in resource.resource.attributes if value.key == "service.name"} == {"drawings"}  # fmt: skip
    read = [span for span in found if facts(span)["digits.request_id"] == "mine"]
    assert [(span.trace_id.hex(), span.parent_span_id.hex()) for span in read] == [(TRACE, PARENT)] * 2
    assert [facts(span)["digits.digit"] for span in read] == [1, 1]
    for span in read:
        lasted_ms = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6
        assert 0 < facts(span)["digits.predict_ms"] < facts(span)["digits.total_ms"] <= lasted_ms + 0.01
    (refused,) = [span for span in found if facts(span)["digits.request_id"] == "blank"]
    assert facts(refused)["http.response.status_code"] == 422
    assert refused.trace_id.hex() != TRACE
    unread = [facts(span)["http.response.status_code"] for span in found if facts(span)["digits.request_id"] == "unread"]
    assert unread == [400, 400]


def test_the_model_server_is_told_of_the_span_that_is_recorded(collector: list[Any]) -> None:
    tracer = tracing.tracer()
    span = tracer.begin(Headers(HEADER, "vendor=1"), time.monotonic(), "r")
    assert span is not None
    span.end(503, {})
    until = time.monotonic() + 10
    while not spans(collector) and time.monotonic() < until:
        time.sleep(0.05)
    (recorded,) = spans(collector)
    assert span.headers == (f"00-{TRACE}-{recorded.span_id.hex()}-01", "vendor=1")
    assert recorded.status.code == recorded.status.STATUS_CODE_ERROR


def test_without_the_packages_a_trace_is_still_passed_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    tracer = tracing.tracer()
    assert "not installed" in caplog.text
    span = tracer.begin(Headers(HEADER, "vendor=1"), 0.0, "r")
    assert span is not None
    assert span.headers.traceparent.startswith(f"00-{TRACE}-")
    assert PARENT not in span.headers.traceparent
    assert [name for name, _ in span.headers.metadata] == ["traceparent", "tracestate"]
    odd = tracer.begin(Headers(HEADER, "line\nbreak"), 0.0, "r")
    assert odd is not None
    assert odd.headers.tracestate == ""
    assert tracer.begin(Headers(), 0.0, "r") is None
    assert tracer.begin(Headers("00-nonsense"), 0.0, "r") is None
