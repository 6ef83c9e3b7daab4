"""The HTTP server under the REST API: uvicorn's event loop and parser, worker threads for the model."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.core import Core
from serving.flags import Parsed
from serving.http_replies import Reply, page
from serving.metrics import Metrics
from serving.model_info import ModelInfo
from serving.rest_api import METHODS, METRICS_PATH, RestApi
from serving.rest_urls import is_relative
from serving.turns import Asker, serves

log = logging.getLogger(__name__)

MAX_BODY = 256 * 2**20
"""Larger bodies are refused, unread where Content-Length says it; upstream has no limit but memory."""
EVERYWHERE = "0.0.0.0"
MAX_HEAD_BYTES = 2**20
"""Bytes of a request's line and headers; upstream has no limit but memory here either."""
NOBODY = Reply(499, b"")
"""For a client that has gone: it ends the request and is not sent."""
GONE_AFTER_S = 2.0
"""Who sends no more may still wait for the answer, or have gone: there is no telling, and after this it is taken for gone."""
FIRST_BYTES = 256
"""Of a request that is none, so many are looked at for what to say of it."""
CONTINUE = "100-continue"
"""All that a client can expect (RFC 9110, 10.1.1)."""
REASONS = {429: "Client Error", 499: "Client Closed Request", 504: "Gateway Time-out"}


class _Client:
    """The other end of a connection (turns.Asker).  Not the connection itself: that would be a circle, for it has its request."""

    __slots__ = ("_leaves",)

    def __init__(self) -> None:
        self._leaves = math.inf  # on time.monotonic's clock

    @property
    def gone(self) -> bool:
        return time.monotonic() >= self._leaves

    def leaves(self, in_s: float) -> None:
        self._leaves = min(self._leaves, time.monotonic() + in_s)


class _Protocol(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn's types are not looked at
    """uvicorn's protocol, keeping what ASGI drops: the request target as it was sent, unknown methods.

    ASGI has no way to say that a path ended in a bare `?`, and the API's error texts quote targets, so the target travels to
    the application in hexadecimal.  Of a client's end ASGI tells only who waits for it, a task for each request: instead the
    client travels along as who asks, and its requests look at it when their turn comes.
    """

    url: bytes
    parser: Any
    _first_bytes = b""
    _in_head, _head_bytes = True, 0
    _is_over = False
    """The client sent what is no HTTP, behind requests that are answered first."""

    def connection_made(self, transport: Any) -> None:
        self._asker = _Client()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._first_bytes = data[:FIRST_BYTES]
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("the head of the request is too long")
                return
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        try:
            while rest:
                rest = self._parse(rest)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            if not self._in_head and self.pipeline:  # a body breaks off that waits behind others
                self.pipeline.popleft()
                self._in_head = True
            elif not self._in_head or self.cycle is None or self.cycle.response_complete:
                self.send_400_response("no HTTP")
                return
            self._is_over = True

    def _parse(self, data: memoryview) -> memoryview:
        """Feed the parser; returns what it has left over.

        It stops after the head of a request that offers another protocol (curl --http2) and would take the body for that
        protocol's: such a head is parsed once more, without the offer.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            if not self._is_offer():  # CONNECT: what follows is no HTTP
                return data[:0]
            lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
            lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)  # the old one may have come to a `Connection: close`
            self.parser.feed_data(b"\r\n".join(lines) + b"\r\n\r\n")
            return data[stop.args[0] :]
        return data[:0]

    def _is_offer(self) -> bool:
        return bool(self.parser.should_upgrade()) and self.parser.get_method() != b"CONNECT"

    def on_headers_complete(self) -> None:
        if self._is_offer():
            return
        self._in_head, self._head_bytes = False, 0
        self.url = b"/" + self.url.hex().encode()
        self.scope["asker"] = self._asker
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        if self._is_offer():
            return
        self._in_head = True
        super().on_message_complete()
        if not self.pipeline:  # it may be paused for the length of the body, and who does not read sees no end
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        if self._is_over and is_last and not self.transport.is_closing():
            self.send_400_response("no HTTP")

    def eof_received(self) -> bool:
        """The client sends no more.  Returns whether it is still answered: libevent, upstream's library, does so."""
        if self.cycle is None or self.cycle.response_complete or not self._in_head:
            return False
        last = self.pipeline[0][0] if self.pipeline else self.cycle
        last.keep_alive = False
        self._asker.leaves(GONE_AFTER_S)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._asker.leaves(0)
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        status = 400
        if line := re.match(rb"([A-Za-z]+) (\S+) HTTP/1", self._first_bytes):
            if line[1].decode() not in METHODS:
                status = 501
            elif is_relative(line[2]):  # libevent takes it, the parser here does not; the API has no such path
                status = 404
        body = page(status).body
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: text/html\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()


class RestServer:
    """Serves the REST API on one port, from a thread of its own."""

    def __init__(self, core: Core, info: ModelInfo, metrics: Metrics, flags: Parsed, monitoring: Any) -> None:
        timeout = flags.rest_api_timeout_in_ms
        path = None
        if monitoring is not None and monitoring.prometheus_config.enable:
            path = monitoring.prometheus_config.path or METRICS_PATH
        self._api = RestApi(
            core, info, metrics, timeout / 1000 if timeout > 0 else None, flags.rest_api_enable_cors_support, path
        )
        self._workers = ThreadPoolExecutor(max(1, flags.rest_api_num_threads), "rest")
        self._sockets = listen(flags.rest_api_port, flags.bind_address)
        config = uvicorn.Config(
            self._application, interface="asgi3", http=_Protocol, ws="none", loop="auto", lifespan="off",
            access_log=False, log_config=None, log_level="warning", proxy_headers=False, server_header=False,
            date_header=False, timeout_keep_alive=75,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            threading.Event().wait(0.01)

    def stop(self, grace_s: float) -> None:
        """Finish requests in work, then close."""
        self._server.config.timeout_graceful_shutdown = max(1, int(grace_s))
        self._server.should_exit = True
        self._thread.join(grace_s + 1)

    def _run(self) -> None:
        asyncio.run(self._server._serve(self._sockets))

    async def _application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        # of repeated headers the first counts
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        try:
            body = None if int(headers.get("content-length", 0)) > MAX_BODY else await _body(receive)
        except ConnectionError:  # the client went away in the middle: nobody asked anything
            return
        if body is None:
            reply = page(413)
        elif body and scope["http_version"] == "1.1" and headers.get("expect", CONTINUE).lower() != CONTINUE:
            reply = page(417)
        else:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Reply] = loop.create_future()

            def answer(reply: Reply) -> None:
                loop.call_soon_threadsafe(_settle, future, reply)

            target = bytes.fromhex(scope["raw_path"][1:].decode())
            loop.run_in_executor(self._workers, self._work, scope["asker"], scope["method"], target, headers, body, answer)
            reply = await future
        head = [(b"content-type", reply.content_type.encode()), (b"content-length", str(len(reply.body)).encode())]
        head += [(name.lower().encode(), value.encode()) for name, value in reply.headers.items()]
        if reply.close:
            head.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": reply.status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})

    def _work(
        self, asker: Asker, method: str, target: bytes, headers: Mapping[str, str], body: bytes, answer: Callable[[Reply], None]
    ) -> None:
        """Handle a request on a worker's thread, if anybody still waits for its answer."""
        if asker.gone:
            answer(NOBODY)
            return
        serves(asker)
        try:
            self._api.handle(method, target, headers, body, answer)
        finally:
            serves(None)


def _settle(future: asyncio.Future[Reply], reply: Reply) -> None:
    if not future.done():  # the client may have gone
        future.set_result(reply)


async def _body(receive: Any) -> bytes | None:
    """Read the whole body; None if it is too large.  Raises ConnectionError."""
    parts, size = [], 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ConnectionError
        part = event.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
        if not event.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def listen(port: int, address: str = EVERYWHERE) -> list[socket.socket]:
    """Listen on one IPv4 address, or on every one, IPv6 where there is any.  Raises OSError."""
    if address != EVERYWHERE:
        listener = socket.create_server((address, port), backlog=1024)
    else:
        family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
        listener = socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6, backlog=1024)
    # asyncio does this for sockets that say they are TCP, which create_server's do not: without it a reply's body waits 40 ms
    # for the acknowledgement of its headers
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return [listener]


def install_reasons() -> None:
    """Give uvicorn upstream's reason phrases where they differ from the usual ones."""
    from uvicorn.protocols.http import httptools_impl

    for status, reason in REASONS.items():
        httptools_impl.STATUS_LINE[status] = f"HTTP/1.1 {status} {reason}\r\n".encode()


install_reasons()
