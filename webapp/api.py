"""The JSON API under /api/."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, current_app, g, request

from digits import wire
from digits.settings import WebSettings
from webapp import inputs, later, problems, tracing
from webapp.backend import Backend
from webapp.reading import JSON, Parsed, Reader
from webapp.records import ARRIVED

blueprint = Blueprint("api", __name__, url_prefix="/api")


@blueprint.post("/predict")
def predict() -> Response:
    """Read the digit in each image of the request."""
    reader: Reader = current_app.extensions["reader"]
    arrived = request.environ.get(ARRIVED) or time.monotonic()
    trace = tracing.Headers(request.headers.get("traceparent", ""), request.headers.get("tracestate", ""))
    reading = reader.begin(_parse, arrived, problems.request_id(), trace)
    g.later = True
    response = Response(mimetype=JSON)  # compression looks at it already

    def finish() -> None:
        reply = reading.finish()
        response.status_code, response.mimetype, response.data = reply.status, reply.mimetype, reply.body
        if reply.retry_after_s is not None:
            response.headers["Retry-After"] = str(reply.retry_after_s)

    return later.respond(reading.future, response, finish, reading.deadline)


def _parse() -> Parsed:
    options = inputs.options(request)  # first: what is wrong there costs no reading
    return inputs.read(request), options


@blueprint.get("/model")
def model() -> dict[str, Any]:
    """What is being served: versions, signatures, card and figures."""
    settings: WebSettings = current_app.extensions["settings"]
    backend: Backend = current_app.extensions["backend"]
    state = backend.state
    current = backend.usable()
    return {
        "name": settings.model_name,
        "version": current.number,
        "versions": [{"version": number, "state": _state(code)} for number, code in state.states.items()],
        "labels": dict(state.labels),
        "refused": {str(number): why for number, why in state.refused.items()},
        "signatures": current.signatures,
        "figures": current.card.get("figures", {}),
        "card": current.card,
        "model_card": current.model_card,
    }


def _state(code: int) -> str:
    known = wire.STATES.get(code)
    return known.name if known is not None else str(code)
