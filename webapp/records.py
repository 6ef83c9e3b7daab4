"""One line of JSON for every request, and its share of the metrics."""

from __future__ import annotations

import json
import os
import select
import threading
import time
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, g, request

from webapp import problems, tracing
from webapp.metrics import Metrics

ARRIVED = "digits.arrived"
"""In the environ: when the request was whole, on time.monotonic's clock."""
FLUSH_LINES = 64
MAX_UNSENT = 1_048_576
"""Bytes that are kept for a reader who takes none just now; what comes beyond them is lost."""
STDOUT = 1


class Records:
    """Gathers lines and writes many at once: a write for each would cost more than all the rest of the bookkeeping.

    flush() is called a few times a second.  Thread-safe.
    """

    def __init__(self, metrics: Metrics, enabled: bool = True, file: int = STDOUT) -> None:
        self._metrics, self._enabled, self._file = metrics, enabled, file
        self._lines: list[str] = []
        self._unsent = b""
        self._lock = threading.Lock()

    def answered(
        self, method: str, path: str, endpoint: str, status: int, seconds: float, request_id: str, more: Mapping[str, Any]
    ) -> None:  # fmt: skip
        """Count an answer and note it.

        path: as sent; JSON escapes whatever is in it.  more: plain facts (version, digit, stages); never pixels.
        """
        self._metrics.request(endpoint, status, seconds)
        if not self._enabled:
            return
        line: dict[str, Any] = {
            "time": round(time.time(), 3),
            "request_id": request_id,
            "method": method,
            "path": path[:200],
            "status": status,
            "ms": round(seconds * 1000, 2),
        }
        line.update(more)
        self._lines.append(json.dumps(line))
        if len(self._lines) >= FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered: whole lines, in pieces that a pipe does not mix with other workers' (pipe(7), PIPE_BUF)."""
        with self._lock:
            count = len(self._lines)  # threads append meanwhile: only what is taken here goes
            unsent = self._unsent + "".join(line + "\n" for line in self._lines[:count]).encode()
            del self._lines[:count]
            try:
                while unsent:
                    end = unsent.rfind(b"\n", 0, select.PIPE_BUF) + 1 or unsent.find(b"\n") + 1
                    sent = os.write(self._file, unsent[:end])
                    unsent = unsent[sent:]
                    if not sent:
                        break
            except BlockingIOError:  # the pipe is full: the next flush goes on
                pass
            except OSError:  # nobody reads the log any more: the answers matter more
                unsent = b""
            if len(unsent) > MAX_UNSENT:
                unsent = unsent[: unsent.rfind(b"\n", 0, MAX_UNSENT) + 1]
            self._unsent = unsent


def register(app: Flask) -> None:
    """Note every answer that is given at once; one that comes later is noted when it comes."""
    log: Records = app.extensions["records"]

    @app.after_request
    def note(response: Response) -> Response:
        if "later" not in g:
            began = request.environ.get(ARRIVED)
            seconds = 0.0 if began is None else time.monotonic() - began
            endpoint = request.endpoint or "none"
            facts = _failure() if response.status_code >= 400 else {}
            log.answered(request.method, request.path, endpoint, response.status_code, seconds, problems.request_id(), facts)
            if ARRIVED not in request.environ:  # another server than our worker: nobody else flushes
                log.flush()
        return response


def _failure() -> dict[str, str]:
    """Why the present request failed, and the caller's trace."""
    facts = {"why": g.why} if "why" in g else {}
    trace = tracing.accepted(request.headers.get("traceparent"))
    return facts if trace is None else {**facts, "trace_id": trace.trace_id}
