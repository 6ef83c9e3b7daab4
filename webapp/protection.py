"""The headers that keep every answer to itself."""

from __future__ import annotations

from flask import Flask, Response

from webapp import assets, problems

CSP = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data: blob:", "connect-src 'self'",
    "font-src 'self'", "manifest-src 'self'", "worker-src 'self'", "base-uri 'none'", "form-action 'self'",
    "frame-ancestors 'none'",
))  # fmt: skip
PROTECTION = (
    ("Content-Security-Policy", CSP), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)  # fmt: skip


def register(app: Flask) -> None:
    """Put them and the request id on every answer; pages are packed last."""

    @app.after_request
    def headers(response: Response) -> Response:
        protect(response, problems.request_id())
        return assets.compress_page(response)


def protect(response: Response, request_id: str) -> None:
    """Set them on one answer, which has none of them yet."""
    response.headers.extend(PROTECTION)
    response.headers.add("X-Request-Id", request_id)
