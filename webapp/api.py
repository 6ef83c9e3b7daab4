"""The JSON API under /api/."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from flask import Blueprint, Response, current_app, g, json, request

from digits import contract as c
from digits.client import Prediction
from digits.errors import DigitsError, InputError
from digits.images import decode, ink_of
from digits.preprocess import normalise
from digits.settings import WebSettings
from webapp import answers, inputs, later, problems, tracing
from webapp.backend import Backend
from webapp.metrics import Metrics
from webapp.records import ARRIVED, Records

blueprint = Blueprint("api", __name__, url_prefix="/api")

Prepared = list[c.Image28 | DigitsError]
"""Every image of a request as 28×28, or its own failure."""


class _Clock:
    """Milliseconds by stage, from the moment when the request was whole."""

    def __init__(self, arrived: float) -> None:
        self._arrived = arrived
        self._last = time.monotonic()
        self.ms = {"queue": (self._last - arrived) * 1000, "decode": 0.0, "preprocess": 0.0, "predict": 0.0}

    def lap(self, stage: str) -> None:
        now = time.monotonic()
        self.ms[stage] += (now - self._last) * 1000
        self._last = now

    def done(self) -> dict[str, float]:
        rounded = {stage: round(value, 3) for stage, value in self.ms.items()}
        rounded["total"] = round((self._last - self._arrived) * 1000, 3)
        return rounded


@blueprint.post("/predict")
def predict() -> Response:
    """Read the digit in each image of the request."""
    settings: WebSettings = current_app.extensions["settings"]
    backend: Backend = current_app.extensions["backend"]
    arrived = request.environ.get(ARRIVED) or time.monotonic()
    clock = _Clock(arrived)
    options = inputs.options(request)
    submission = inputs.read(request)
    prepared = _prepare(submission, settings.max_pixels, clock)
    good = [image for image in prepared if not isinstance(image, DigitsError)]
    reply = _Reply(prepared, submission.many, options, clock)
    if not good:
        if not submission.many:
            raise next(one for one in prepared if isinstance(one, DigitsError))
        clock.lap("preprocess")
        return Response(json.dumps(reply.body(None)), mimetype="application/json")
    images = submission.tensor if submission.tensor is not None else np.stack(good)
    clock.lap("preprocess")
    deadline = arrived + settings.deadline_ms / 1000
    future = backend.ask(images, deadline, options.key, reply.request_id, tracing.passed_on(reply.trace))
    g.later = True
    response = Response(mimetype="application/json")

    def finish() -> None:
        clock.lap("predict")
        try:
            error = future.exception()
            if error is not None:
                problems.fill_for(response, error, reply.request_id)
            else:
                response.data = json.dumps(reply.body(future.result()))
        except Exception as exc:
            problems.fill_for(response, exc, reply.request_id)
        reply.note(response.status_code, time.monotonic() - arrived)

    return later.respond(future, response, finish, deadline)


def _prepare(submission: inputs.Submission, max_pixels: int, clock: _Clock) -> Prepared:
    if submission.tensor is not None:
        return list(submission.tensor)
    out: Prepared = []
    for data in submission.images:
        try:
            if isinstance(data, InputError):
                raise data
            picture = decode(data, max_pixels)
            clock.lap("decode")
            out.append(normalise(ink_of(picture)))
            clock.lap("preprocess")
        except InputError as exc:
            out.append(exc)
    return out


class _Reply:
    """What one answer is made of; it outlives Flask's context."""

    def __init__(self, prepared: Prepared, many: bool, options: inputs.Options, clock: _Clock) -> None:
        self._prepared, self._many, self._options, self._clock = prepared, many, options, clock
        self._settings: WebSettings = current_app.extensions["settings"]
        self._backend: Backend = current_app.extensions["backend"]
        self._metrics: Metrics = current_app.extensions["metrics"]
        self._records: Records = current_app.extensions["records"]
        self.request_id = problems.request_id()
        self.trace = tracing.accepted(request.headers.get("traceparent"))
        self._facts: dict[str, Any] = {"images": len(prepared)}
        if self.trace is not None:
            self._facts["trace_id"] = self.trace.trace_id

    def body(self, prediction: Prediction | None) -> dict[str, Any]:
        """The answer's JSON."""
        results = self._results(prediction)
        timing = self._clock.done()
        common: dict[str, Any] = {"timing_ms": timing, "request_id": self.request_id}
        if prediction is not None:
            common["model"] = {"name": self._settings.model_name, "version": prediction.version}
            self._metrics.answered(prediction.version, self._options.key[1] or "", len(prediction.probabilities))
            self._facts["version"] = prediction.version
        self._metrics.stages(self._clock.ms)
        self._facts["timing_ms"] = timing
        if self._many:
            return {"results": results, **common}
        self._facts["digit"] = results[0]["digit"]
        return {**results[0], **common}

    def _results(self, prediction: Prediction | None) -> list[dict[str, Any]]:
        threshold = 0.5
        rows: list[list[float]] = []
        if prediction is not None:
            version = self._backend.version(prediction.version)
            threshold = version.threshold if version is not None else threshold
            rows = prediction.probabilities.tolist()
        results, at = [], 0
        for one in self._prepared:
            if isinstance(one, DigitsError):
                results.append({"error": problems.document(problems.problem_for(one), str(one), self.request_id)})
                continue
            made = answers.answer(one, rows[at], threshold, self._options.top)
            self._metrics.answer(made["digit"], rows[at][made["digit"]], made["sure"])
            results.append(made)
            at += 1
        return results

    def note(self, status: int, seconds: float) -> None:
        """Count and log the answer."""
        self._records.answered("POST", "/api/predict", "api.predict", status, seconds, self.request_id, self._facts)


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
        "versions": [{"version": number, "state": _STATES.get(code, str(code))} for number, code in state.states.items()],
        "labels": dict(state.labels),
        "refused": {str(number): why for number, why in state.refused.items()},
        "signatures": current.signatures,
        "figures": current.card.get("figures", {}),
        "card": current.card,
        "model_card": current.model_card,
    }


_STATES = {10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
