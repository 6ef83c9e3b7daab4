"""Map entries with a field that nobody knows: the entry counts, the field does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2, regression_pb2

PREDICTION = "/tensorflow.serving.PredictionService/"
UNKNOWN = {"bytes": b"\x2a\x01q", "a number": b"\x18\x05"}


def field(number: int, body: bytes) -> bytes:
    """A length-delimited field of fewer than 128 bytes."""
    return bytes([number << 3 | 2, len(body)]) + body


def asked(target: Any, method: str, data: bytes, answer: Callable[[bytes], Any]) -> Any:
    return answer(target.channel.unary_unary(PREDICTION + method)(data, timeout=20))


def predict(entry: bytes) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "shift"
    return bytes(request.SerializeToString()) + field(2, entry)


X = tf.make_tensor_proto([2.0, 3.0], tf.float32).SerializeToString()


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_an_input_counts(target: Any, unknown: str) -> None:
    for entry in (field(1, b"x") + field(2, X) + UNKNOWN[unknown], UNKNOWN[unknown] + field(1, b"x") + field(2, X)):
        answered = asked(target, "Predict", predict(entry), predict_pb2.PredictResponse.FromString)
        assert len(tf.make_ndarray(answered.outputs["y"])) == 2


def test_an_input_of_values_that_are_not_packed_counts(target: Any) -> None:
    whole = tf.make_tensor_proto(np.array([1, 2], np.int32)).SerializeToString()
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "types", "id_int32"
    data = request.SerializeToString() + field(2, field(1, b"x") + field(2, whole) + UNKNOWN["bytes"])
    answered = asked(target, "Predict", data, predict_pb2.PredictResponse.FromString)
    assert tf.make_ndarray(answered.outputs["y"]).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        (field(1, b"x") + field(3, X), "tensor parsing error: x"),
        (field(3, b"x") + field(2, X), "Signature input alias: x(feed name: x:0) not found in request and no default"),
    ],
    ids=["no value", "no name"],
)
def test_an_entry_without_name_or_value_is_an_input_of_that_name(target: Any, entry: bytes, text: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        asked(target, "Predict", predict(entry), predict_pb2.PredictResponse.FromString)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(text)


@pytest.mark.parametrize("value", [b"\x0a\x05ab", b"\x08"])
def test_an_input_that_is_malformed_is_no_message(target: Any, value: bytes) -> None:
    entry = field(1, b"x") + field(2, value) + UNKNOWN["bytes"]
    with pytest.raises(grpc.RpcError) as caught:
        asked(target, "Predict", predict(entry), predict_pb2.PredictResponse.FromString)
    assert (caught.value.code().name, caught.value.details()) == ("INTERNAL", "")


def tensor(value: float) -> bytes:
    return bytes(tf.make_tensor_proto([value], tf.float32).SerializeToString())


PLAIN, ODD = (field(1, b"x") + field(2, tensor(value)) + more for value, more in ((2.0, b""), (3.0, UNKNOWN["bytes"])))


@pytest.mark.parametrize(("entries", "read"), [((ODD, PLAIN), 2.0), ((PLAIN, ODD), 3.0), ((PLAIN, ODD, PLAIN), 2.0)])
def test_of_inputs_of_one_name_the_last_counts(target: Any, entries: tuple[bytes, ...], read: float) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "types", "id_float"
    data = request.SerializeToString() + b"".join(field(2, entry) for entry in entries)
    answered = asked(target, "Predict", data, predict_pb2.PredictResponse.FromString)
    assert tf.make_ndarray(answered.outputs["y"]).tolist() == [read]


@pytest.mark.parametrize("broken", [b"\x2a\x03abc", b"\x12\x02\x08", b"\x42\x05a"], ids=["floats", "shape", "string"])
def test_an_input_that_is_malformed_is_no_message_though_another_takes_its_place(target: Any, broken: bytes) -> None:
    data = predict(field(1, b"x") + field(2, broken)) + field(2, field(1, b"x") + field(2, X))
    with pytest.raises(grpc.RpcError) as caught:
        asked(target, "Predict", data, predict_pb2.PredictResponse.FromString)
    assert (caught.value.code().name, caught.value.details()) == ("INTERNAL", "")


FEATURE = field(1, b"x") + field(2, field(2, field(1, np.float32(2).tobytes()))) + UNKNOWN["bytes"]
EXAMPLE = field(1, field(1, FEATURE))
KINDS = {
    "Classify": (classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse, "classify_x_to_y"),
    "Regress": (regression_pb2.RegressionRequest, regression_pb2.RegressionResponse, "regress_x_to_y"),
}


LIST, CONTEXT = field(1, field(1, EXAMPLE)), field(2, field(2, EXAMPLE) + field(1, b""))


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize("given", [LIST, CONTEXT], ids=["list", "context"])
def test_a_feature_counts(target: Any, method: str, given: bytes) -> None:
    kind, response, signature = KINDS[method]
    request = kind()
    request.model_spec.name, request.model_spec.signature_name = "half_plus_two", signature
    result = asked(target, method, request.SerializeToString() + field(2, given), response.FromString).result
    value = result.regressions[0].value if method == "Regress" else result.classifications[0].classes[0].score
    assert value == 3.0


TWO, THREE = (field(1, b"x") + field(2, field(2, field(1, np.float32(value).tobytes()))) for value in (2, 3))
ODD_THREE = THREE + UNKNOWN["bytes"]
ROWS = [((ODD_THREE, TWO), 3.0), ((TWO, ODD_THREE), 3.5), ((TWO, ODD_THREE, TWO), 3.0), ((THREE, TWO), 3.0)]


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize(("entries", "read"), ROWS)
@pytest.mark.parametrize("place", ["list", "context"])
def test_of_features_of_one_name_the_last_counts(
    target: Any, method: str, entries: tuple[bytes, ...], read: float, place: str
) -> None:
    example = field(1, b"".join(field(1, entry) for entry in entries))
    given = field(1, field(1, example)) if place == "list" else field(2, field(2, example) + field(1, b""))
    kind, response, signature = KINDS[method]
    request = kind()
    request.model_spec.name, request.model_spec.signature_name = "half_plus_two", signature
    result = asked(target, method, request.SerializeToString() + field(2, given), response.FromString).result
    value = result.regressions[0].value if method == "Regress" else result.classifications[0].classes[0].score
    assert value == read


def test_beside_a_feature_with_something_unknown_the_others_count_and_each_example_keeps_its_own(target: Any) -> None:
    plain, other = field(1, field(1, TWO)), field(1, b"y") + field(2, field(2, field(1, np.float32(9).tobytes())))
    odd = field(1, field(1, other + UNKNOWN["a number"]) + field(1, THREE))
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = "half_plus_two", "regress_x_to_y"
    data = request.SerializeToString() + field(2, field(1, field(1, plain) + field(1, odd) + field(1, plain)))
    result = asked(target, "Regress", data, regression_pb2.RegressionResponse.FromString).result
    assert [one.value for one in result.regressions] == [3.0, 3.5, 3.0]


def test_a_feature_counts_for_several_tasks(target: Any) -> None:
    request = inference_pb2.MultiInferenceRequest()
    task = request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name, task.model_spec.signature_name = "half_plus_two", "regress_x_to_y"
    data = request.SerializeToString() + field(2, field(1, field(1, EXAMPLE)))
    answered = asked(target, "MultiInference", data, inference_pb2.MultiInferenceResponse.FromString)
    assert answered.results[0].regression_result.regressions[0].value == 3.0
