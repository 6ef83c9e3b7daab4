"""One request's images read: from their bytes to the answer's JSON, with no web framework around it.

The view of `/api/predict` and the worker's short way (`webapp.hall`) share it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from digits import contract as c
from digits.errors import BadTensor, BlankCanvas, DeadlineExceeded, DigitsError, InputError
from digits.images import MIN_CONTRAST, decode
from digits.preprocess import normalise
from digits.replies import Prediction
from digits.settings import WebSettings
from webapp import answers, inputs, problems, tracing
from webapp.backend import Backend
from webapp.coalesce import NO_TRACE
from webapp.metrics import Metrics
from webapp.pictures import ink_in
from webapp.records import Records

PATH, ENDPOINT = "/api/predict", "api.predict"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as HTTP has it.  why: what failed, for the log."""

    status: int
    mimetype: str
    body: str
    retry_after_s: int | None = None
    why: str = ""


def refusal(error: BaseException, request_id: str) -> Reply:
    """The problem for an error."""
    problem, detail = problems.told(error, request_id)
    body = json.dumps(problems.document(problem, detail, request_id))
    return Reply(problem.status, problems.MIMETYPE, body, problem.retry_after_s, problems.why(error))


Parsed = tuple[inputs.Submission, inputs.Options]
"""What was sent, and what the address asks for."""


class Clock:
    """Milliseconds by stage, from the moment when the request was whole."""

    def __init__(self, arrived: float) -> None:
        self._arrived = arrived
        self._last = time.monotonic()
        self.ms = {"queue": (self._last - arrived) * 1000, "decode": 0.0, "preprocess": 0.0, "predict": 0.0}

    def lap(self, stage: str) -> None:
        """A stage has ended."""
        now = time.monotonic()
        self.ms[stage] += (now - self._last) * 1000
        self._last = now

    def done(self) -> dict[str, float]:
        """As the answer shows it."""
        rounded = {stage: round(value, 3) for stage, value in self.ms.items()}
        rounded["total"] = round((self._last - self._arrived) * 1000, 3)
        return rounded


class Reader:
    """What every reading needs; one per worker process."""

    def __init__(self, settings: WebSettings, backend: Backend, metrics: Metrics, records: Records) -> None:
        self.settings, self.backend, self.metrics, self.records = settings, backend, metrics, records
        self.tracer = tracing.tracer()

    def begin(self, parse: Callable[[], Parsed], arrived: float, request_id: str, trace: tracing.Headers) -> Reading:
        """Preprocess a request's images and ask the model server.

        parse: finds out what was sent; arrived: on time.monotonic's clock.  Raises a DigitsError where there is nothing to ask,
        or nobody.
        """
        span = self.tracer.begin(trace, arrived, request_id)
        try:
            submission, options = parse()
            return Reading(self, submission, options, arrived, request_id, span)
        except Exception as exc:
            if span is not None:
                span.end(problems.problem_for(exc).status if isinstance(exc, DigitsError) else 500, {})
            raise

    def refused(self, error: BaseException, arrived: float, request_id: str, sent: tracing.Headers) -> Reply:
        """Answer a request of which nothing could be begun, count and log it."""
        reply = refusal(error, request_id)
        facts, trace = {"why": reply.why}, tracing.accepted(sent.traceparent)
        if trace is not None:
            facts["trace_id"] = trace.trace_id
        self.note(reply.status, arrived, request_id, facts)
        return reply

    def note(self, status: int, arrived: float, request_id: str, facts: Mapping[str, Any]) -> None:
        """Count and log an answer."""
        self.records.answered("POST", PATH, ENDPOINT, status, time.monotonic() - arrived, request_id, facts)


class Reading:
    """One request under way.

    future: the model server's answer, None where nothing was asked; deadline: on time.monotonic's clock.
    """

    def __init__(
        self, reader: Reader, submission: inputs.Submission, options: inputs.Options, arrived: float, request_id: str,
        span: tracing.Span | None,
    ) -> None:  # fmt: skip
        self._reader, self._options, self._arrived, self._request_id = reader, options, arrived, request_id
        self._many = submission.many
        self._clock = Clock(arrived)
        self.deadline = arrived + reader.settings.deadline_ms / 1000
        self._prepared = self._prepare(submission)
        self._facts: dict[str, Any] = {"images": len(self._prepared)}
        self._span = span
        if span is not None:
            self._facts["trace_id"] = span.trace_id
        self.future: Future[Prediction] | None = None
        good = [image for image in self._prepared if not isinstance(image, DigitsError)]
        if not good and not self._many:
            raise next(one for one in self._prepared if isinstance(one, DigitsError))
        tensor = submission.tensor
        images = tensor if tensor is not None and len(good) == len(tensor) else np.array(good)
        self._clock.lap("preprocess")
        if good:
            trace = NO_TRACE if span is None else span.headers
            self.future = reader.backend.ask(images, self.deadline, options.key, request_id, trace)

    def _prepare(self, submission: inputs.Submission) -> list[c.Image28 | DigitsError]:
        """Every image as 28×28, or its own failure."""
        if submission.tensor is not None:
            return [_checked(one) for one in submission.tensor]
        out: list[c.Image28 | DigitsError] = []
        for data in submission.images:
            if time.monotonic() > self.deadline:
                raise DeadlineExceeded("the time allowed ran out while the pictures were read")
            try:
                if isinstance(data, InputError):
                    raise data
                picture = decode(data, self._reader.settings.max_pixels)
                self._clock.lap("decode")
                out.append(normalise(ink_in(picture, data)))
                self._clock.lap("preprocess")
            except InputError as exc:
                out.append(exc)
        return out

    def finish(self) -> Reply:
        """Answer, count and log, whatever became of the future.  Never raises."""
        self._clock.lap("predict")
        try:
            reply = Reply(200, JSON, json.dumps(self._body(None if self.future is None else self.future.result())))
        except Exception as exc:
            reply = refusal(exc, self._request_id)
            self._facts["why"] = reply.why
        self._reader.note(reply.status, self._arrived, self._request_id, self._facts)
        if self._span is not None:
            self._span.end(reply.status, self._facts)
        return reply

    def _body(self, prediction: Prediction | None) -> dict[str, Any]:
        """The answer's JSON."""
        results = self._results(prediction)
        timing = self._clock.done()
        common: dict[str, Any] = {"timing_ms": timing, "request_id": self._request_id}
        metrics = self._reader.metrics
        if prediction is not None:
            common["model"] = {"name": self._reader.settings.model_name, "version": prediction.version}
            metrics.answered(prediction.version, self._options.key[1] or "", len(prediction.probabilities))
            self._facts["version"] = prediction.version
        metrics.stages(self._clock.ms)
        failed = sum(isinstance(one, DigitsError) for one in self._prepared)
        if failed:
            self._facts["failed"] = failed
        self._facts["timing_ms"] = timing
        if self._many:
            return {"results": results, **common}
        self._facts["digit"] = results[0]["digit"]
        return {**results[0], **common}

    def _results(self, prediction: Prediction | None) -> list[dict[str, Any]]:
        threshold = math.inf  # of a version that nobody has looked at nothing is sure
        rows: list[list[float]] = []
        if prediction is not None:
            version = self._reader.backend.version(prediction.version)
            threshold = version.threshold if version is not None else math.inf
            rows = prediction.probabilities.tolist()
        results, at = [], 0
        for one in self._prepared:
            if isinstance(one, DigitsError):
                results.append({"error": problems.document(problems.problem_for(one), str(one), self._request_id)})
                continue
            made = answers.answer(one, rows[at], threshold, self._options.top)
            self._reader.metrics.answer(made["digit"], rows[at][made["digit"]], made["sure"])
            results.append(made)
            at += 1
        return results


def _checked(image: c.Image28) -> c.Image28 | DigitsError:
    """A tensor's image, if it is one: preprocessing makes the darkest ink 255."""
    darkest = int(image.max())
    if not darkest:
        return BlankCanvas("the image is blank: every pixel is paper")
    if darkest < MIN_CONTRAST:
        return BadTensor(f"got grey levels up to {darkest}; wanted 0 for paper to 255 for ink")
    return image
