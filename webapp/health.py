"""Probes: /livez says that the process works, /readyz that a drawing would be answered; and /metrics."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, current_app

from digits.errors import DigitsError
from webapp.backend import Backend
from webapp.metrics import Metrics
from webapp.watch import PATIENCE_S, PROOF_EVERY_S

blueprint = Blueprint("health", __name__)

FRESH_S = 2 * PROOF_EVERY_S + 2 * PATIENCE_S


@blueprint.get("/livez")
def livez() -> dict[str, Any]:
    """The process answers; the model server is not asked."""
    return {"status": "alive"}


@blueprint.get("/readyz")
def readyz() -> tuple[dict[str, Any], int]:
    """The contract's model answered every worker within the last seconds, and this process is not about to end."""
    backend: Backend = current_app.extensions["backend"]
    counted: Metrics = current_app.extensions["metrics"]
    refused = {str(number): why for number, why in backend.state.refused.items()}
    try:
        version = backend.usable()
        backend.circuit.check()
        fresh = time.monotonic() - backend.watch.answered_at < FRESH_S
        why = backend.state.trouble or ("" if fresh else "no version has answered lately")
        if not why and not counted.everybody_ready():
            why = "another worker of this gateway is not ready yet"
    except DigitsError as exc:
        why = str(exc)
    if current_app.extensions.get("draining"):
        why = "this process is ending"
    if why:
        return {"status": "not ready", "why": why, "refused": refused}, 503
    return {"status": "ready", "version": version.number, "refused": refused}, 200


@blueprint.get("/metrics")
def metrics() -> Response:
    """All workers' counters in Prometheus's text format."""
    counted: Metrics = current_app.extensions["metrics"]
    return Response(counted.text(), content_type="text/plain; version=0.0.4; charset=utf-8")
