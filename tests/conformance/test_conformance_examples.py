"""Classify, Regress and MultiInference over gRPC, with the official client."""

from __future__ import annotations

from typing import Any

import pytest
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

KINDS = {"Classify": classification_pb2.ClassificationRequest, "Regress": regression_pb2.RegressionRequest}


def ask(method: str, signature: str, values: list[float], model: str = "half_plus_two") -> Any:
    """A request about Examples with one feature, x."""
    request = KINDS[method]()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for value in values:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return request


@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_two_tf2"])
def test_classify_scores_every_example(target: Any, model: str) -> None:
    response = target.call("Classify", ask("Classify", "classify_x_to_y", [2.0, 4.0], model))
    assert [[(c.label, c.score) for c in row.classes] for row in response.result.classifications] == [[("", 3.0)], [("", 4.0)]]
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == (model, "classify_x_to_y", 123)


@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_two_tf2"])
def test_regress_gives_one_value_an_example(target: Any, model: str) -> None:
    response = target.call("Regress", ask("Regress", "regress_x_to_y", [2.0, 4.0], model))
    assert [r.value for r in response.result.regressions] == [3.0, 4.0]


def test_a_context_is_shared_by_all_examples(target: Any) -> None:
    request = ask("Regress", "regress_x_to_y", [])
    request.input.example_list_with_context.context.features.feature["x"].float_list.value.append(6.0)
    request.input.example_list_with_context.examples.add()
    own = request.input.example_list_with_context.examples.add()
    own.features.feature["x"].float_list.value.append(2.0)
    assert [r.value for r in target.call("Regress", request).result.regressions] == [5.0, 3.0]


@pytest.mark.parametrize(
    ("method", "signature", "text"),
    [
        ("Classify", "nope", "No signature was found with the name: nope"),
        ("Regress", "nope", "No signature was found with the name: nope"),
        ("Regress", "serving_default", "No regression inputs found in SignatureDef: "),
        ("Classify", "serving_default", "No classification inputs found in SignatureDef: "),
        (
            "Classify",
            "regress_x_to_y",
            'Expected classification signature outputs to contain at least one of "classes" or "scores".',
        ),
        ("Regress", "classify_x_to_y", "No regression outputs found in SignatureDef: "),
    ],
)
def test_signatures_of_another_kind_are_refused(target: Any, method: str, signature: str, text: str) -> None:
    code, got = target.refusal(method, ask(method, signature, [2.0]))
    assert code == "INVALID_ARGUMENT"
    assert got.startswith(text)


def test_no_examples_are_refused(target: Any) -> None:
    assert target.refusal("Regress", ask("Regress", "regress_x_to_y", [])) == ("INVALID_ARGUMENT", "Input is empty.")


def test_a_missing_feature_is_the_parsers_own_error(target: Any) -> None:
    request = ask("Regress", "regress_x_to_y", [])
    request.input.example_list.examples.add()
    code, text = target.refusal("Regress", request)
    assert code == "INVALID_ARGUMENT"
    assert "Feature: x (data type: float) is required but could not be found." in text


def multi(*tasks: tuple[str, str, str]) -> Any:
    """A MultiInferenceRequest: model, signature, method of each task."""
    request = inference_pb2.MultiInferenceRequest()
    for model, signature, method in tasks:
        request.tasks.add(method_name=f"tensorflow/serving/{method}").model_spec.name = model
        request.tasks[-1].model_spec.signature_name = signature
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    return request


@pytest.mark.parametrize("model", ["half_plus_two", "half_plus_two_tf2"])
def test_multi_inference_answers_its_tasks_in_order(target: Any, model: str) -> None:
    request = multi((model, "regress_x_to_y", "regress"), (model, "classify_x_to_y", "classify"))
    first, second = target.call("MultiInference", request).results
    assert first.regression_result.regressions[0].value == 3.0
    assert second.classification_result.classifications[0].classes[0].score == 3.0
    assert second.model_spec.signature_name == "classify_x_to_y"


@pytest.mark.parametrize(
    ("tasks", "code", "text"),
    [
        ((), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            (("half_plus_two", "regress_x_to_y", "regress"), ("shift", "regress_x_to_y", "regress")),
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            (("half_plus_two", "regress_x_to_y", "regress"), ("half_plus_two", "regress_x_to_y", "regress")),
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress_x_to_y",
        ),
        (
            (("half_plus_two", "nope", "regress"),),
            "INVALID_ARGUMENT",
            "Requested signature not found in model graph: nope",
        ),
        (
            (("half_plus_two", "regress_x_to_y", "predict"),),
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
    ],
)
def test_multi_inference_refuses_tasks_that_do_not_fit(target: Any, tasks: Any, code: str, text: str) -> None:
    assert target.refusal("MultiInference", multi(*tasks)) == (code, text)
