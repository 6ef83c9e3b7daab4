"""One HTTP/1.1 connection: bytes in, whole requests out; a slow client holds memory, never a thread."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import httptools

from webapp import problems
from webapp.incoming import MAX_HEADER_BYTES, MAX_HEADERS, MAX_URL, Refused, Request, too_much_head, too_much_waiting
from webapp.inputs import SMALL_BYTES

if TYPE_CHECKING:
    from webapp.hall import Hall

MAX_FRAMING, FRAMING_A_BYTE = 32_768, 8
"""Bytes of a request that are no body, and as many more for each that is: endless headers, and chunks of nearly nothing."""
MAX_PIPELINED = 8
QUEUED_BYTES = 1024
"""What a waiting request takes beside its body, about."""
MAX_BUFFERED = 67_108_864
"""Bytes of bodies that a worker keeps altogether, from their first until their requests are answered."""
RESERVED = 8_388_608
"""So many more of small bodies, which wait behind no large picture."""
IDLE_S = 75.0
"""A connection without a request is closed after this; longer than the usual proxy's 60 s, so that it never loses the race."""
NOT_HTTP = Refused(problems.BAD_REQUEST, "got bytes that are no HTTP/1.1 request of a known method")
LINGER_S = 2.0
"""After a refusal the rest of the body is read and dropped for so long: closing at once would destroy the answer."""

_CLOSE = b"connection: close\r\n\r\n"
_GO_ON = {True: b"\r\n", False: b"connection: keep-alive\r\n\r\n"}


class Connection(asyncio.Protocol):
    """Reads requests, hands them to the hall one at a time, writes answers in order."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._parts: list[bytes] = []
        self._header_bytes = self._headers = 0
        self._queue: deque[Request] = deque()
        self._framing = 0
        self._closing = False
        self._paused = False
        self._ended = False
        self._deaf = False
        """While draining: what the client had begun to send is in, and no more is taken."""
        self.busy = False
        self.client = ""
        self.due = 0.0
        """When patience with the client ends; on time.monotonic's clock."""

    # -- asyncio ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) else ""
        self.due = time.monotonic() + self._hall.settings.read_timeout_s
        self._hall.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget; an answer under way is dropped, and its request kept until then."""
        self._hall.connections.discard(self)
        self._hall.buffered -= self._request.length + sum(QUEUED_BYTES + len(request.body) for request in self._queue)
        self._transport, self._request = None, Request()
        self._queue.clear()

    def data_received(self, data: bytes) -> None:
        """Parse."""
        if self._deaf:
            return
        request, body = self._request, self._request.length
        while data and not self._closing:
            try:
                self._parser.feed_data(data)
                break
            except httptools.HttpParserUpgrade as exc:
                if self._upgrading:
                    data = self._without_upgrade() + data[exc.args[0] :]
                else:
                    self._closing = True
            except httptools.HttpParserError as exc:
                if not self._closing:
                    cause = exc.__context__
                    self.refuse(cause if isinstance(cause, Refused) else NOT_HTTP)
        if self._request is request and not self._closing:  # all of it belongs to one request, still unfinished
            self._framing += len(data) - (request.length - body)
            if self._framing > MAX_FRAMING + FRAMING_A_BYTE * request.length:
                self.refuse(too_much_head())

    def pause_writing(self) -> None:
        """The client does not read its answer: it has as long as for sending."""
        self._paused = True
        self._wait()

    def resume_writing(self) -> None:
        """It does."""
        self._paused = False
        self._wait()
        self._go_on()

    # -- httptools --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._request = Request()
        self._parts = []
        self._header_bytes = self._headers = self._framing = 0
        if not self.busy:
            self.due = time.monotonic() + self._hall.settings.read_timeout_s

    def on_url(self, url: bytes) -> None:
        """A piece of the URL."""
        self._request.url += url
        if len(self._request.url) > MAX_URL:
            raise Refused(problems.LONG_ADDRESS, f"got an address of more than {MAX_URL} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        self._header_bytes += len(name) + len(value)
        self._headers += 1
        if not self._request.method:  # what follows the body's last chunk is counted and no more (RFC 9110, 6.5.1)
            self._request.headers.append((name.lower(), value))
        if self._headers > MAX_HEADERS or self._header_bytes > MAX_HEADER_BYTES:
            raise too_much_head()

    def on_headers_complete(self) -> None:
        """Everything but the body is here."""
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        request.keep_alive = self._parser.should_keep_alive()
        request.version = self._parser.get_http_version()
        if self._upgrading:
            return
        go_on = False
        request.check_host()
        request.check_protocol()
        for name, value in request.headers:
            if name == b"content-length" and int(value) > self._hall.settings.max_body_bytes:
                self._too_large(int(value))
                return
            go_on |= name == b"expect" and value.lower() == b"100-continue"
        if go_on and request.version == "1.1" and not self.busy and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._closing or self._deaf:
            return
        self._parts.append(body)
        self._request.length += len(body)
        self._hall.buffered += len(body)
        if self._request.length > self._hall.settings.max_body_bytes:
            self._too_large(self._request.length)
        elif self._hall.buffered > (MAX_BUFFERED if self._request.length > SMALL_BYTES else MAX_BUFFERED + RESERVED):
            raise too_much_waiting()

    def on_message_complete(self) -> None:
        """The whole request is here."""
        if self._closing or self._deaf or self._upgrading:
            return
        self._deaf = self._hall.draining
        request = self._request
        request.body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts, self._request = [], Request()
        self._accept(request)

    @property
    def _upgrading(self) -> bool:
        """Whether the parser takes an offer of another protocol, such as curl's h2c, for the end of HTTP."""
        upgrading: bool = self._request.method != "CONNECT" and self._parser.should_upgrade()
        return upgrading

    def _without_upgrade(self) -> bytes:
        """The head just read without that offer, for a parser that goes on to the body."""
        request = self._request
        self._parser = httptools.HttpRequestParser(self)
        first = request.method.encode() + b" " + request.url + b" HTTP/" + request.version.encode()
        lines = [first, *(name + b": " + value for name, value in request.headers if name != b"upgrade")]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    # -- to and from the hall ---------------------------------------------------------------------

    def _too_large(self, length: int) -> None:
        """Let the application say so; the body is neither kept nor awaited."""
        request = self._request
        self._hall.buffered -= request.length
        self._parts, self._request = [], Request()
        request.length, request.keep_alive = length, False
        self._closing = True
        self._accept(request)

    def _accept(self, request: Request) -> None:
        request.arrived = time.monotonic()
        if self.busy or self._paused:
            self._queue.append(request)
            self._hall.buffered += QUEUED_BYTES
            if len(self._queue) >= MAX_PIPELINED and self._transport is not None:
                self._transport.pause_reading()
            if self._hall.buffered > MAX_BUFFERED:
                raise too_much_waiting()
            return
        self.busy = True
        self._hall.take(self, request)

    def _take_next(self) -> None:
        if self._queue:
            self._hall.buffered -= QUEUED_BYTES
            self._hall.take(self, self._queue.popleft())

    def answer(self, request: Request, head: bytes, body: bytes) -> None:
        """Write a whole answer; head lacks only its last lines.  Then take the next request, or close."""
        self.busy = False
        self._hall.buffered -= len(request.body)
        request.body = b""  # whoever holds the request longer holds no more
        transport = self._transport
        if transport is None:
            return
        last = self._closing or (not self._queue and (self._hall.draining or self._ended))
        keep = request.keep_alive and not last
        transport.write(head + self._hall.date + (_GO_ON[request.version == "1.1"] if keep else _CLOSE) + body)
        if not keep:
            self._close_gently()
            return
        self._wait()
        self._go_on()

    def _go_on(self) -> None:
        """Take the next request, once the client has fetched the answers that were written."""
        if self._queue and not (self.busy or self._paused or self._closing) and self._transport is not None:
            self._transport.resume_reading()
            self.busy = True
            asyncio.get_running_loop().call_soon(self._take_next)  # at once, a row of refusals would nest

    def refuse(self, refusal: Refused) -> None:
        """Answer a request that cannot be read, and close."""
        self._closing = True
        request = self._request
        request.keep_alive = False
        if not self.busy:
            self.busy = True
            self._hall.refuse(self, request, refusal)

    def patience(self, now: float) -> None:
        """Close a connection that has been given enough time."""
        if now < self.due or self._transport is None:
            return
        if self._paused or (self._closing and not self.busy):
            self._transport.abort()
        elif not self.busy:
            if self._partly:
                wanted_s = self._hall.settings.read_timeout_s
                self.refuse(Refused(problems.TOO_SLOW, f"the request did not come in whole within {wanted_s:g} s"))
            else:
                self._transport.close()

    def close_if_idle(self) -> None:
        """While draining: nothing more is taken from this client than what it has begun to send."""
        self._deaf = not self._partly
        if not (self.busy or self._partly) and self._transport is not None:
            self._transport.close()

    @property
    def _partly(self) -> bool:
        """Whether a request has begun to come in."""
        return bool(self._request.method or self._request.url or self._parts)

    def _close_gently(self) -> None:
        assert self._transport is not None
        self._closing = True
        self._wait()
        if self._transport.can_write_eof():
            with suppress(OSError):  # the client is gone, and the loop has not heard of it yet
                self._transport.write_eof()

    def eof_received(self) -> bool:
        """The client sends no more; it may still read its answer."""
        self._ended = True
        return self.busy or bool(self._queue)

    def _wait(self) -> None:
        """Start the clock for what the client has to do next."""
        slow_s = self._hall.settings.read_timeout_s
        wait_s = slow_s if self._paused else LINGER_S if self._closing else slow_s if self._request.url else IDLE_S
        self.due = time.monotonic() + wait_s
