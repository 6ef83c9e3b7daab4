"""Cross-origin requests, for the origins that the settings name; without any, browsers keep other sites out."""

from __future__ import annotations

from flask import Flask, Response, request


def register(app: Flask, origins: str) -> None:
    """Allow pages of `origins` (commas between, or *) to use the API."""
    allowed = frozenset(origin.strip().rstrip("/") for origin in origins.split(",") if origin.strip())
    if not allowed:
        return

    @app.after_request
    def headers(response: Response) -> Response:
        origin = request.headers.get("Origin", "")
        if not request.path.startswith(("/api/", "/openapi.json")):
            return response
        response.vary.add("Origin")
        if origin and ("*" in allowed or origin in allowed):
            response.headers["Access-Control-Allow-Origin"] = "*" if "*" in allowed else origin
            response.headers["Access-Control-Expose-Headers"] = "X-Request-Id, Retry-After"
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
            if request.method == "OPTIONS":
                response.headers["Access-Control-Allow-Methods"] = "GET, POST"
                response.headers["Access-Control-Allow-Headers"] = "Content-Type, X-Request-Id, traceparent"
                response.headers["Access-Control-Max-Age"] = "600"
        return response
