"""Our messages and the official package's: bytes written by one are read by the other."""

from __future__ import annotations

import numpy as np
import pytest

from digits import tensor, wire
from digits.errors import BadModelOutput

tf_tensor = pytest.importorskip("tensorflow.core.framework.tensor_pb2")
predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)


def test_our_request_is_read_by_the_official_messages() -> None:
    request = wire.PredictRequest()
    request.model_spec.name = "digits"
    request.model_spec.version.value = 12
    request.model_spec.signature_name = "serving_default"
    tensor.fill(request.inputs["images"], IMAGES)
    official = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    assert (official.model_spec.name, official.model_spec.version.value) == ("digits", 12)
    proto = official.inputs["images"]
    assert [dim.size for dim in proto.tensor_shape.dim] == [3, 28, 28]
    assert proto.dtype == 4  # DT_UINT8
    assert proto.tensor_content == IMAGES.tobytes()


@pytest.mark.parametrize("packed", [True, False])
def test_an_official_answer_is_read_by_ours_in_either_encoding(packed: bool) -> None:
    response = predict_pb2.PredictResponse()
    probabilities = np.linspace(0, 1, 20, dtype=np.float32).reshape(2, 10)
    proto = response.outputs["probabilities"]
    proto.dtype = 1
    for size in (2, 10):
        proto.tensor_shape.dim.add().size = size
    if packed:
        proto.tensor_content = probabilities.tobytes()
    else:  # as TensorFlow Serving answers
        proto.float_val.extend(probabilities.ravel().tolist())
    response.model_spec.version.value = 3
    ours = wire.PredictResponse.FromString(response.SerializeToString())
    assert np.array_equal(tensor.array(ours.outputs["probabilities"]), probabilities)
    assert ours.model_spec.version.value == 3


def test_unpacked_strings_and_their_order_survive() -> None:
    proto = wire.TensorProto()
    tensor.fill_strings(proto, [b"one", b"", b"\xff"])
    assert list(tf_tensor.TensorProto.FromString(proto.SerializeToString()).string_val) == [b"one", b"", b"\xff"]
    assert tensor.strings(proto) == [b"one", b"", b"\xff"]


def test_every_message_the_client_uses_has_the_official_field_numbers() -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, prediction_log_pb2

    official = {
        "ModelSpec": model_pb2.ModelSpec,
        "PredictRequest": predict_pb2.PredictRequest,
        "PredictResponse": predict_pb2.PredictResponse,
        "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
        "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
        "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
        "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
        "PredictionLog": prediction_log_pb2.PredictionLog,
    }
    for name, message in official.items():
        theirs = {field.name: (field.number, field.type) for field in message.DESCRIPTOR.fields}
        ours = {field.name: (field.number, field.type) for field in getattr(wire, name).DESCRIPTOR.fields}
        assert ours.items() <= theirs.items(), name


@pytest.mark.parametrize(("dtype", "values", "complaint"), [(1, 3, "got 3 values for a tensor of shape"), (2, 0, "dtype 2")])
def test_a_tensor_that_breaks_its_word_is_bad_output(dtype: int, values: int, complaint: str) -> None:
    proto = wire.TensorProto(dtype=dtype, float_val=[0.0] * values)
    proto.tensor_shape.dim.add().size = 2
    with pytest.raises(BadModelOutput, match=complaint):
        tensor.array(proto)
