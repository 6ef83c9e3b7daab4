"""A request as WSGI's environ, and answers as bytes."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Flask, Response

from digits.settings import WebSettings
from webapp.incoming import Request
from webapp.inputs import BODY
from webapp.protection import PROTECTION
from webapp.reading import Reply
from webapp.records import ARRIVED

Answer = tuple[bytes, bytes]
"""Head without its last lines, the date among them, and body."""
_PROTECTION = "".join(f"{name}: {value}\r\n" for name, value in PROTECTION)
_REASONS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}


def environ(request: Request, client: str, settings: WebSettings) -> dict[str, Any]:
    """WSGI's environ, with the body as bytes besides and the time of arrival."""
    path, _, query = request.url.decode("latin-1").partition("?")
    if not path.startswith("/"):  # the absolute form, or `*`
        path = "/" + path.partition("://")[2].partition("/")[2]
    if "%" in path:
        path = unquote_to_bytes(path).decode("latin-1")
    path = "/" + path.lstrip("/")  # werkzeug's routing takes several for one: then so must whoever looks at it before
    made: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query.partition("#")[0],
        "SERVER_NAME": settings.web_host,
        "SERVER_PORT": str(settings.web_port),
        "SERVER_PROTOCOL": "HTTP/" + request.version,
        "REMOTE_ADDR": client,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        BODY: request.body,
        ARRIVED: request.arrived,
    }
    for raw, value in request.headers:
        name = raw.decode("latin-1")
        if "_" in name:  # x_forwarded_for would pass for x-forwarded-for
            continue
        key = "CONTENT_TYPE" if name == "content-type" else "HTTP_" + name.upper().replace("-", "_")
        text = value.decode("latin-1")
        made[key] = f"{made[key]},{text}" if key in made and key != "CONTENT_TYPE" else text
    made.pop("HTTP_TRANSFER_ENCODING", None)
    made.pop("HTTP_CONTENT_LENGTH", None)
    made["CONTENT_LENGTH"] = str(request.length)
    return made


def call(app: Flask, environ: dict[str, Any]) -> Answer:
    """Run the application.  It answers its own errors."""
    head: list[str] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        head[:] = [_REASONS[int(status[:3])], *(f"{name}: {value}\r\n" for name, value in headers if name != "Date")]
        return None

    parts: Iterable[bytes] = app(environ, start_response)
    try:
        body = b"".join(parts)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
    return "".join(head).encode("latin-1"), body


def plain(reply: Reply, request_id: str) -> Answer:
    """The same head and body for an answer that never was a Response."""
    body = reply.body.encode()
    retry = "" if reply.retry_after_s is None else f"Retry-After: {reply.retry_after_s}\r\n"
    head = (
        f"{_REASONS[reply.status]}Content-Type: {reply.mimetype}\r\n{retry}{_PROTECTION}"
        f"X-Request-Id: {request_id}\r\ncontent-length: {len(body)}\r\n"
    )
    return head.encode("latin-1"), body


def serialised(response: Response) -> Answer:
    """A finished response, without a round through WSGI."""
    body = response.get_data()
    headers = [f"{name}: {value}\r\n" for name, value in response.headers if name != "Content-Length"]
    head = f"{_REASONS[response.status_code]}{''.join(headers)}content-length: {len(body)}\r\n"
    return head.encode("latin-1"), body
