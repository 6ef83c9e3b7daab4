"""Cross-origin requests, for the origins that the settings name; without any, browsers keep other sites out."""

from __future__ import annotations

from flask import Flask, Response, request


def register(app: Flask, origins: str) -> None:
    """Allow pages of `origins` (commas between, or *) to use the API."""
    named = allowed(origins)
    if not named:
        return

    @app.after_request
    def headers(response: Response) -> Response:
        if not request.path.startswith(("/api/", "/openapi.json")):
            return response
        if share(response, named, request.headers.get("Origin", "")) and request.method == "OPTIONS":
            response.headers["Access-Control-Allow-Methods"] = "GET, POST"
            response.headers["Access-Control-Allow-Headers"] = "Content-Type, X-Request-Id, traceparent, tracestate"
            response.headers["Access-Control-Max-Age"] = "600"
        return response


def allowed(origins: str) -> frozenset[str]:
    """The setting's origins, each as browsers send it."""
    return frozenset(origin.strip().rstrip("/") for origin in origins.split(",") if origin.strip())


def share(response: Response, named: frozenset[str], origin: str) -> bool:
    """Let a page of `origin` read the answer, if it is among those named.  Returns whether it is."""
    if not named:
        return False
    response.vary.add("Origin")
    if not origin or not named & {"*", origin}:
        return False
    response.headers["Access-Control-Allow-Origin"] = "*" if "*" in named else origin
    response.headers["Access-Control-Expose-Headers"] = "X-Request-Id, Retry-After"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return True
