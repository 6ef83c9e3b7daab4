"""W3C trace context: who asked us is told to whom we ask, and recorded where OpenTelemetry is installed and configured."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

log = logging.getLogger(__name__)

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_TRACESTATE = re.compile(r"[ -~]{0,512}")
"""Printable ASCII of the length that everybody must pass on; whose entries it holds is not ours to read."""
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""OpenTelemetry's own variables; without either nothing is recorded."""
NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")


class Headers(NamedTuple):
    """What a caller sent, or we send on."""

    traceparent: str = ""
    tracestate: str = ""

    @property
    def metadata(self) -> list[tuple[str, str]]:
        """As gRPC takes them."""
        return [(name, value) for name, value in zip(self._fields, self, strict=True) if value]


@dataclass(frozen=True)
class Trace:
    """The caller's trace: its hexadecimal id, and flags."""

    trace_id: str
    flags: str


def accepted(header: str | None) -> Trace | None:
    """Read a traceparent header; None if there is none, or it is not one."""
    if not header:
        return None
    match = _TRACEPARENT.fullmatch(header)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]) or not int(match[2], 16) or not int(match[3], 16):
        return None
    return Trace(match[2], match[4])


class Span:
    """Our part in a trace.

    trace_id: hexadecimal; headers: for the model server.
    """

    def __init__(self, trace_id: str, headers: Headers) -> None:
        self.trace_id, self.headers = trace_id, headers

    def end(self, status: int, facts: Mapping[str, Any]) -> None:
        """The request is answered.  facts: those of its line in the log."""


class Tracer:
    """Passes a caller's trace on, with a span of our own that nobody records."""

    def begin(self, sent: Headers, arrived: float, request_id: str) -> Span | None:
        """A request begins; None if it belongs to no trace.  arrived: on time.monotonic's clock."""
        trace = accepted(sent.traceparent)
        if trace is None:
            return None
        own = f"00-{trace.trace_id}-{secrets.token_hex(8)}-{trace.flags}"
        return Span(trace.trace_id, Headers(own, sent.tracestate if _TRACESTATE.fullmatch(sent.tracestate) else ""))


def tracer() -> Tracer:
    """The tracer that the environment asks for; after the fork, for it may start a thread."""
    if not any(os.environ.get(name) for name in ENDPOINTS) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Tracer()
    try:
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    except ModuleNotFoundError:
        missing = list(NEEDED)
    if missing:
        log.warning("traces are not recorded: %s is not installed (requirements/otel.txt)", " and ".join(missing))
        return Tracer()
    from webapp.telemetry import RecordingTracer

    return RecordingTracer()
