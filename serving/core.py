"""The API without a transport: messages in, messages or a Status out.

gRPC and REST only convert.  A request is planned on the thread that brings it and answered through
a callback, because a batch answers many requests from one thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from serving.metrics import Metrics
from serving.planner import Plan, Planner, Work
from serving.resolver import Resolver, spec_parts
from serving.servable import Result, Servable
from serving.status import Code, Status, invalid
from serving.tensors import Tensor

log = logging.getLogger(__name__)

Reply = Callable[[Any], None]
"""Takes the answer, or the Status the request failed with."""


class Core:
    """Answers every call of PredictionService that runs a model."""

    def __init__(self, resolver: Resolver, metrics: Metrics, planner: Planner) -> None:
        self.resolver, self.planner = resolver, planner
        self._metrics = metrics

    def predict(self, request: Any, deadline: float | None, reply: Reply) -> None:
        """digits.fast.PredictRequest → digits.fast.PredictResponse."""
        self._answer(request, deadline, reply, "Predict", self.planner.predict)

    def classify(self, request: Any, deadline: float | None, reply: Reply) -> None:
        """ClassificationRequest → ClassificationResponse."""
        self._answer(request, deadline, reply, "Classify", self.planner.classify)

    def regress(self, request: Any, deadline: float | None, reply: Reply) -> None:
        """RegressionRequest → RegressionResponse."""
        self._answer(request, deadline, reply, "Regress", self.planner.regress)

    def multi_inference(self, request: Any, deadline: float | None, reply: Reply) -> None:
        """MultiInferenceRequest → MultiInferenceResponse; the first task's spec picks the version."""

        def hold() -> Servable:
            if not request.tasks:
                raise invalid("ModelSpec has no name specified.")
            return self.resolver.hold(*spec_parts(request.tasks[0].model_spec))

        def plan(servable: Servable) -> Any:
            work = self.planner.multi_inference(request, servable)
            self._metrics.examples(servable.name, len(next(iter(work.feeds.values())).array))
            return work

        self.serve(hold, plan, deadline, "MultiInference", reply)

    def _answer(self, request: Any, deadline: float | None, reply: Reply, api: str, plan: Callable[[Any, Servable], Any]) -> None:
        name, began = request.model_spec.name, time.perf_counter()

        def counted(result: Any) -> None:
            code = result.code if isinstance(result, Status) else Code.OK
            self._metrics.request(name, api, "GRPC", code, time.perf_counter() - began)
            reply(result)

        self.serve(lambda: self.resolver.hold_spec(request), lambda servable: plan(request, servable), deadline, api, counted)

    def serve(self, hold: Callable[[], Servable], plan: Plan, deadline: float | None, api: str, reply: Reply) -> None:
        """Hold a version, run what is planned on it, answer.  `reply` is called once, from whichever thread ran it."""
        try:
            servable = hold()
        except Status as status:
            reply(status)
            return

        def finish(result: Any) -> None:
            servable.release()
            reply(result)

        try:
            work = plan(servable)
            began = time.perf_counter()

            def done(result: Result) -> None:
                if not isinstance(result, Status):
                    self._metrics.runtime(servable.name, api, time.perf_counter() - began)
                finish(result if isinstance(result, Status) else _answered(work, result))

            servable.runner.run(work.feeds, work.fetches, deadline, done)
        except Status as status:
            finish(status)
        except Exception as exc:
            finish(unforeseen(exc))


def _answered(work: Work, tensors: list[Tensor]) -> Any:
    """Return the answer made of the tensors, or the Status that this fails with."""
    try:
        return work.answer(tensors)
    except Status as status:
        return status
    except Exception as exc:
        return unforeseen(exc)


def unforeseen(exc: Exception) -> Status:
    """Log a bug and word it for the caller, without its text."""
    log.error("a request failed in an unforeseen way", exc_info=exc)
    return Status(Code.INTERNAL, f"{type(exc).__name__} in the server")
