"""W3C trace context: who asked us is told to whom we ask."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)


@dataclass(frozen=True)
class Trace:
    """The caller's trace: hexadecimal ids and flags."""

    trace_id: str
    parent_id: str
    flags: str


def accepted(header: str | None) -> Trace | None:
    """Read a traceparent header; None if there is none, or it is not one."""
    if not header:
        return None
    match = _TRACEPARENT.fullmatch(header)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]) or not int(match[2], 16) or not int(match[3], 16):
        return None
    return Trace(match[2], match[3], match[4])


def passed_on(trace: Trace | None) -> str:
    """The traceparent for the model server: the same trace, with a span of our own; empty without a trace."""
    return "" if trace is None else f"00-{trace.trace_id}-{secrets.token_hex(8)}-{trace.flags}"
