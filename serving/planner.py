"""Requests → work for the engine: what to feed, what to fetch, how to answer with it.

Planning makes every check that needs no run, in upstream's order and words; it is done once for gRPC, REST and warmup alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving import messages, predict, tensor_wire
from serving.examples import ClassificationTask, RegressionTask, Task, multi_tasks, serialized, signature_for
from serving.resolver import fill_spec
from serving.servable import Servable
from serving.tensors import Tensor


@dataclass(frozen=True)
class Work:
    """One run of a signature.  answer: makes the reply of the fetched tensors, or raises Status."""

    feeds: Mapping[str, Tensor]
    fetches: Sequence[str]
    answer: Callable[[list[Tensor]], Any]


Plan = Callable[[Servable], Work]
"""Plans a request for the version that was found for it.  Raises Status."""


class Planner:
    """Plans every kind of inference.

    check_methods: --enable_signature_method_name_check.  as_content: answer Predict with tensor_content.
    """

    def __init__(self, check_methods: bool = False, as_content: bool = False) -> None:
        self.check_methods, self._as_content = check_methods, as_content

    def predict(self, request: Any, servable: Servable) -> Work:
        """digits.fast.PredictRequest → work that answers with a digits.fast.PredictResponse."""
        name = request.model_spec.signature_name or predict.DEFAULT_SIGNATURE
        signature = predict.signature_of(servable, name, self.check_methods)
        call = predict.plan(signature, request.inputs, request.output_filter)
        if not servable.runner.batches:
            predict.refuse_handles(call.feeds, call.types)

        def answer(tensors: list[Tensor]) -> Any:
            response = messages.PredictResponse()
            fill_spec(response.model_spec, servable, name)
            for alias, tensor in zip(call.aliases, tensors, strict=True):
                tensor_wire.write(tensor, response.outputs[alias], self._as_content)
            return response

        return Work(call.feeds, call.fetches, answer)

    def classify(self, request: Any, servable: Servable) -> Work:
        """ClassificationRequest → work that answers with a ClassificationResponse."""
        return self._response(request, servable, ClassificationTask, messages.ClassificationResponse)

    def regress(self, request: Any, servable: Servable) -> Work:
        """RegressionRequest → work that answers with a RegressionResponse."""
        return self._response(request, servable, RegressionTask, messages.RegressionResponse)

    def _response(
        self, request: Any, servable: Servable, kind: type[ClassificationTask] | type[RegressionTask], response_class: Any
    ) -> Work:
        name = request.model_spec.signature_name or predict.DEFAULT_SIGNATURE

        def answer(task: Task, results: Any) -> Any:
            response = response_class()
            fill_spec(response.model_spec, servable, name)
            response.result.CopyFrom(task.message(results))
            return response

        return self.evaluation(servable, name, request.input if request.HasField("input") else None, kind, answer)

    def evaluation(
        self, servable: Servable, signature_name: str, given: Any, kind: type[ClassificationTask] | type[RegressionTask],
        answer: Callable[[Task, Any], Any],
    ) -> Work:  # fmt: skip
        """Classify or regress an Input message; `answer` gets rows of (label, score), or values."""
        task = kind.of(signature_for(servable.signatures, signature_name), self.check_methods)
        examples = serialized(given)
        return _tasks_work([task], examples, lambda results: answer(task, results[0]))

    def multi_inference(self, request: Any, servable: Servable) -> Work:
        """MultiInferenceRequest → work that answers with a MultiInferenceResponse."""
        tasks = multi_tasks(request, servable.signatures, self.check_methods)
        examples = serialized(request.input if request.HasField("input") else None)

        def answer(results: list[Any]) -> Any:
            response = messages.MultiInferenceResponse()
            for asked, task, result in zip(request.tasks, tasks, results, strict=True):
                one = response.results.add()
                fill_spec(one.model_spec, servable, asked.model_spec.signature_name or predict.DEFAULT_SIGNATURE)
                into = one.classification_result if isinstance(task, ClassificationTask) else one.regression_result
                into.CopyFrom(task.message(result))
            return response

        return _tasks_work(tasks, examples, answer)


def _tasks_work(tasks: Sequence[Task], examples: Tensor, answer: Callable[[list[Any]], Any]) -> Work:
    """Run all tasks on the same examples in one go."""
    feeds = {task.feed: examples for task in tasks}
    fetches = list(dict.fromkeys(name for task in tasks for name in task.fetches))

    def results(tensors: list[Tensor]) -> Any:
        outputs = dict(zip(fetches, tensors, strict=True))
        return answer([task.result(outputs, len(examples.array)) for task in tasks])

    return Work(feeds, fetches, results)
