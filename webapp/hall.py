"""Where a worker's requests wait, are worked on, and are let out again.

A drawing takes half a millisecond of one core, and all the rest is waiting: for clients, and for the model server.
Threads would fight over the interpreter's lock and each wait for an answer of its own.  Here the loop reads whole requests,
runs those with a small picture itself, one after the other, and sends what has gathered to the model server in one call.
Large pictures and pages go to a few threads, and long answers to one of their own, so that they hold up nobody.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import Any

from flask import Flask

from digits.settings import WebSettings
from webapp import cors, inputs, later, problems, protection, tracing, wsgi
from webapp.backend import Backend
from webapp.http import Connection
from webapp.incoming import Refused, Request
from webapp.metrics import Metrics
from webapp.rates import Rates
from webapp.reading import PATH, Parsed, Reader
from webapp.records import Records

TURN_S = 0.002
"""Work this long between two looks at the sockets: refusals stay quick under load."""
HOLD_S = 0.012
"""Requests that came together are read together for at most so long before the first of them is sent."""
TICK_S, SHORTEST_TICK_S = 0.05, 0.001
Work = Callable[[], wsgi.Answer | later.Slot]
"""What answers a request, now or later."""
PROBES = ("/livez", "/readyz")


class Hall:
    """One per worker."""

    def __init__(self, app: Flask, loop: asyncio.AbstractEventLoop) -> None:
        self.settings: WebSettings = app.extensions["settings"]
        self.connections: set[Connection] = set()
        self.draining = False
        self.buffered = 0
        self.date = b""
        """The header, for every answer."""
        self.accepting: set[asyncio.Task[Any]] = set()
        self._app, self._loop, self._thread = app, loop, threading.get_ident()
        self._origins = cors.allowed(self.settings.cors_origins)
        self._backend: Backend = app.extensions["backend"]
        self._metrics: Metrics = app.extensions["metrics"]
        self._reader: Reader = app.extensions["reader"]
        self._records: Records = app.extensions["records"]
        self._rates = Rates(self.settings.rate_limit)
        self._full = f"got more than the {self.settings.max_waiting} requests that wait here at once"
        self._jobs: deque[tuple[Connection, Request, Work]] = deque()
        self._open: set[tuple[Connection, Request, later.Slot]] = set()
        self._threads = ThreadPoolExecutor(self.settings.web_threads, "request")
        self._teller = ThreadPoolExecutor(1, "answer")
        """For long answers, whose time is nearly up: they do not wait behind pictures that are read."""
        self._in_threads = 0
        self._turning = False
        self._held_since = 0.0
        self._looked = False

    @property
    def in_work(self) -> int:
        """Requests taken and not yet answered."""
        return len(self._jobs) + len(self._open) + self._in_threads

    # -- taking -----------------------------------------------------------------------------------

    def take(self, connection: Connection, request: Request) -> None:
        """Admit a request to the loop's own queue or to the threads, or refuse it at once."""
        try:
            self._admit(connection, request)
        except Exception as exc:
            connection.answer(request, *self._failed(request, exc))

    def _admit(self, connection: Connection, request: Request) -> None:
        work = self._short_way(request)
        environ = {} if work else wsgi.environ(request, connection.client, self.settings)
        if environ.get("PATH_INFO") in PROBES and request.method in ("GET", "HEAD"):  # never shed, never behind a picture
            self._line_up(connection, request, partial(self._run, environ))
            return
        if work or (environ["PATH_INFO"] == PATH and request.method == "POST"):
            if self._rates.limited and not self._rates.allow(connection.client, request.arrived):
                self.refuse(connection, request, self._rates.refusal)
                return
            if self.in_work >= self.settings.max_waiting:
                self.refuse(connection, request, Refused(problems.BUSY, self._full, "queue"))
                return
            if work or inputs.is_small(request.body, environ.get("CONTENT_TYPE", "")):
                self._line_up(connection, request, work or partial(self._run, environ))
                return
        elif self._in_threads >= self.settings.max_waiting:
            self.refuse(connection, request, Refused(problems.BUSY, self._full, "threads"))
            return
        self._to_thread(self._threads, connection, request, partial(self._run, environ))

    def _to_thread(self, threads: ThreadPoolExecutor, connection: Connection, request: Request, work: Work) -> None:
        try:
            running = threads.submit(work)
        except RuntimeError as exc:  # no thread can be started
            connection.answer(request, *self._failed(request, exc))
            return
        self._in_threads += 1
        running.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._from_thread, connection, request, done))

    def _line_up(self, connection: Connection, request: Request, work: Work) -> None:
        self._jobs.append((connection, request, work))
        if not self._turning:
            self._turning = True
            self._loop.call_soon(self._turn)

    def refuse(self, connection: Connection, request: Request, refusal: Refused) -> None:
        """Answer with a problem without asking the application."""
        if refusal.reason:
            self._metrics.shed(refusal.reason)
        problem, request_id = refusal.problem, request.id_or_new()
        answer = self._problem(request, problem, refusal.detail, request_id)
        self._records.answered(request.method, request.path, "refused", problem.status, 0.0, request_id, {"why": problem.title})
        connection.answer(request, *answer)

    def _failed(self, request: Request, error: BaseException) -> wsgi.Answer:
        """Tell of an error that nobody has caught: its request is answered, and everything else goes on."""
        request_id = request.id_or_new()
        problem, detail = problems.told(error, request_id)
        facts, seconds = {"why": problems.why(error)}, time.monotonic() - request.arrived
        with suppress(Exception):  # this may be what failed
            self._records.answered(request.method, request.path, "failed", problem.status, seconds, request_id, facts)
        return self._problem(request, problem, detail, request_id)

    def _problem(self, request: Request, problem: problems.Problem, detail: str, request_id: str) -> wsgi.Answer:
        response = problems.response(problem, detail, request_id)
        protection.protect(response, request_id)
        cors.share(response, self._origins, dict(request.headers).get(b"origin", b"").decode("latin-1"))
        head, body = wsgi.serialised(response)
        return head, b"" if request.method == "HEAD" else body

    # -- working ----------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Work through the queue for a while; what gathers meanwhile goes out in one call."""
        coalescer = self._backend.coalescer
        began = time.monotonic()
        if not self._held_since:
            self._held_since = began
            coalescer.hold()
        while self._jobs:
            self._looked = False
            connection, request, work = self._jobs.popleft()
            self._finish(connection, request, work)
            now = time.monotonic()
            if now - self._held_since > HOLD_S:
                coalescer.release()
                self._held_since = now
                coalescer.hold()
            if now - began > TURN_S:
                break
        if self._jobs:
            self._loop.call_soon(self._turn)
        elif not self._looked:  # once around the sockets: what came meanwhile goes along
            self._looked = True
            self._loop.call_soon(self._loop.call_soon, self._turn)
        else:
            self._looked = self._turning = False
            self._held_since = 0.0
            coalescer.release()

    def _short_way(self, request: Request) -> Work | None:
        """How to answer a small picture or tensor without Flask, whose routing, contexts and headers take 0.1 ms.

        None for whatever has more to it than its bytes.
        """
        if request.url != PATH.encode() or request.method != "POST" or self._origins or request.length != len(request.body):
            return None
        headers = dict(request.headers)
        mimetype = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        if len(headers) != len(request.headers) or mimetype.startswith("multipart/") or b"content-encoding" in headers:
            return None
        small = inputs.is_small(request.body, mimetype if mimetype == inputs.TENSORS else "")
        return partial(self._read, request, headers, mimetype) if small else None

    def _read(self, request: Request, headers: dict[bytes, bytes], mimetype: str) -> wsgi.Answer | later.Slot:
        request_id = problems.plain_or_new(headers.get(b"x-request-id", b"").decode("latin-1"))
        trace = tracing.Headers(*(headers.get(name, b"").decode("latin-1") for name in (b"traceparent", b"tracestate")))

        def parse() -> Parsed:
            submission = inputs.bare(request.body, mimetype)
            assert submission is not None
            return submission, inputs.NO_OPTIONS

        try:
            reading = self._reader.begin(parse, request.arrived, request_id, trace)
        except Exception as exc:
            return wsgi.plain(self._reader.refused(exc, request.arrived, request_id, trace), request_id)
        if reading.future is None:
            return wsgi.plain(reading.finish(), request_id)
        return later.Slot(reading.future, lambda: wsgi.plain(reading.finish(), request_id), reading.deadline)

    def _run(self, environ: dict[str, Any]) -> wsgi.Answer | later.Slot:
        """Ask the application; in the loop or in a thread."""
        slot = environ[later.SLOT] = later.Slot()
        answer = wsgi.call(self._app, environ)
        return slot if slot.future is not None else answer

    def _from_thread(self, connection: Connection, request: Request, done: Future[wsgi.Answer | later.Slot]) -> None:
        self._in_threads -= 1
        self._finish(connection, request, done.result)

    def _finish(self, connection: Connection, request: Request, work: Work) -> None:
        """Answer with what comes of the work, or wait until it can be told."""
        try:
            outcome = work()
        except Exception as exc:
            outcome = self._failed(request, exc)
        if not isinstance(outcome, later.Slot):
            connection.answer(request, *outcome)
            return
        entry = (connection, request, outcome)
        self._open.add(entry)
        assert outcome.future is not None
        outcome.future.add_done_callback(lambda _: self._in_loop(entry))

    def _in_loop(self, entry: tuple[Connection, Request, later.Slot]) -> None:
        """A future is done: mostly in the loop's thread, but an answer without an RPC may come from any."""
        if threading.get_ident() == self._thread:
            self._done(entry)
        else:
            self._loop.call_soon_threadsafe(self._done, entry)

    def _done(self, entry: tuple[Connection, Request, later.Slot]) -> None:
        connection, request, slot = entry
        self._open.discard(entry)
        assert slot.finish is not None
        if inputs.is_many(request.body):
            self._to_thread(self._teller, connection, request, slot.finish)
        else:
            self._finish(connection, request, slot.finish)

    # -- time -------------------------------------------------------------------------------------

    def tick(self) -> float:
        """Look after the clocks: late answers, slow clients, the log, the gauges.  Returns the time to the next, in s."""
        now = time.monotonic()
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        for entry in [entry for entry in self._open if entry[2].deadline <= now]:
            future = entry[2].future
            assert future is not None
            later.expire(future)
        for connection in list(self.connections):
            connection.patience(now)
        self._metrics.in_flight(self.in_work)
        self._records.flush()
        return min((max(entry[2].deadline - now, SHORTEST_TICK_S) for entry in self._open), default=TICK_S)

    def drain(self) -> None:
        """Take no more: idle connections are closed, the others after their answer."""
        self.draining = True
        for connection in list(self.connections):
            connection.close_if_idle()
