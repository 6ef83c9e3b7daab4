"""gRPC Predict as the behaviour sheet has it: what is resolved, what is refused in which words, how tensors travel."""

from __future__ import annotations

import math
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import predict_pb2

DTYPES = {
    "float": [1.5, -0.0], "double": [0.1, 1e300], "half": [0.5, 2.0], "int8": [-128, 127], "uint8": [0, 255],
    "int16": [-5, 5], "uint16": [0, 65535], "int32": [-(2**31), 2**31 - 1], "uint32": [0, 2**32 - 1],
    "int64": [-(2**63), 2**63 - 1], "uint64": [0, 2**64 - 1], "bool": [True, False], "string": [b"", b"\x00\xff"],
    "complex64": [1 + 2j, -1j], "bfloat16": [1.0, -2.0],
}  # fmt: skip


def ask(model: str, signature: str = "", version: int | None = None, label: str | None = None, **inputs: Any) -> Any:
    """A PredictRequest; a keyword is an input: a TensorProto or a value of dtype float."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for alias, value in inputs.items():
        proto = value if isinstance(value, tensor_pb2.TensorProto) else floats(value)
        request.inputs[alias].CopyFrom(proto)
    return request


def floats(value: Any) -> Any:
    """A float TensorProto with its numbers in float_val."""
    array = np.asarray(value, np.float32)
    return tensor_pb2.TensorProto(
        dtype=tf.float32.as_datatype_enum,
        tensor_shape=tf.TensorShape(array.shape).as_proto(),
        float_val=array.ravel().tolist(),
    )


def answer(target: Any, request: Any) -> list[float]:
    """The floats of the one output."""
    (tensor,) = target.call("Predict", request).outputs.values()
    return list(tensor.float_val)


def test_the_answer_names_model_version_and_signature_but_no_label(target: Any) -> None:
    spec = target.call("Predict", ask("shift", label="stable", x=[1.0])).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("shift", 1, "serving_default")
    assert spec.WhichOneof("version_choice") == "version"


def test_no_version_means_the_highest_available(target: Any) -> None:
    assert answer(target, ask("shift", x=[1.0, 2.0])) == [3.0, 4.0]


def test_a_version_and_a_label_pick_theirs(target: Any) -> None:
    assert answer(target, ask("shift", version=1, x=[1.0])) == [2.0]
    assert answer(target, ask("shift", label="canary", x=[1.0])) == [3.0]


@pytest.mark.parametrize(
    ("spec", "code", "text"),
    [
        ({"model": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"model": "absent"}, "NOT_FOUND", "Servable not found for request: Latest(absent)"),
        ({"model": "shift", "version": 99}, "NOT_FOUND", "Servable not found for request: Specific(shift, 99)"),
        ({"model": "shift", "version": 0}, "NOT_FOUND", "Servable not found for request: Specific(shift, 0)"),
        ({"model": "shift", "label": "nobody"}, "INVALID_ARGUMENT", "Unrecognized servable version label: nobody"),
        ({"model": "shift", "label": ""}, "INVALID_ARGUMENT", "Unrecognized servable version label: "),
        ({"model": "absent", "label": "x"}, "INVALID_ARGUMENT", "Unrecognized servable version label: x"),
        ({"model": "shift", "signature": "nope"}, "FAILED_PRECONDITION", 'Serving signature key "nope" not found.'),
    ],
)
def test_what_cannot_be_resolved_is_refused(target: Any, spec: dict[str, Any], code: str, text: str) -> None:
    assert target.refusal("Predict", ask(x=[1.0], **spec)) == (code, text)


def test_a_request_without_model_spec_is_refused(target: Any) -> None:
    assert target.refusal("Predict", predict_pb2.PredictRequest()) == ("INVALID_ARGUMENT", "Missing ModelSpec")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("as_content", [False, True], ids=["values", "tensor_content"])
def test_every_dtype_comes_back_as_it_was_sent(target: Any, dtype: str, as_content: bool) -> None:
    want = np.asarray(DTYPES[dtype], tf.as_dtype(dtype).as_numpy_dtype)
    proto = tf.make_tensor_proto(want, dtype)
    if not as_content and proto.tensor_content:  # one at a time, make_tensor_proto fills the value field
        content = [tf.make_tensor_proto(value, dtype) for value in want]
        proto.ClearField("tensor_content")
        for one in content:
            for field, value in one.ListFields():
                if field.name.endswith("_val"):
                    getattr(proto, field.name).extend(value)
    got = target.call("Predict", ask("types", f"id_{dtype}", x=proto)).outputs["y"]
    assert got.dtype == proto.dtype
    assert not got.tensor_content
    np.testing.assert_array_equal(tf.make_ndarray(got), want)


def test_declared_shapes_are_not_enforced(target: Any) -> None:
    assert answer(target, ask("half_plus_two", x=[2.0])) == [3.0]  # declared [-1, 1]


def test_too_few_values_repeat_the_last_and_surplus_ones_are_dropped(target: Any) -> None:
    sparse, surplus = floats([1.0, 2.0, 0.0, 0.0]), floats([1.0, 2.0])
    del sparse.float_val[2:]
    surplus.float_val.append(3.0)
    assert answer(target, ask("types", "id_float", x=sparse)) == [1.0, 2.0, 2.0, 2.0]
    assert answer(target, ask("types", "id_float", x=surplus)) == [1.0, 2.0]


def test_an_output_filter_picks_outputs(target: Any) -> None:
    request = ask("types", "several", a=[2.0], tag=tf.make_tensor_proto([b"t"]))
    request.output_filter.append("doubled")
    outputs = target.call("Predict", request).outputs
    assert list(outputs) == ["doubled"]
    assert list(outputs["doubled"].float_val) == [4.0]


def test_an_output_filter_must_name_each_output_once(target: Any) -> None:
    request = ask("types", "id_float", x=[1.0])
    request.output_filter.extend(["y", "y"])
    assert target.refusal("Predict", request) == ("INVALID_ARGUMENT", "duplicate output tensor alias: y")
    request.output_filter[:] = ["z"]
    assert target.refusal("Predict", request) == (
        "INVALID_ARGUMENT",
        "output tensor alias not found in signature: z Outputs expected to be in the set {y}.",
    )


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
        (
            {"x": [1.0], "z": [1.0]},
            "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}.",
        ),
        (
            {"z": [1.0]},
            "Signature input alias: x(feed name: x:0) not found in request and no default value provided. Inputs expected to be "
            "in the request {z}, or default input alias set: ",
        ),
    ],
)
def test_inputs_must_be_those_of_the_signature(target: Any, inputs: dict[str, Any], text: str) -> None:
    assert target.refusal("Predict", ask("shift", **inputs)) == ("INVALID_ARGUMENT", text)


def test_another_dtype_than_the_graph_takes_is_refused_not_cast(target: Any) -> None:
    double = tf.make_tensor_proto([1.0], tf.float64)
    assert target.refusal("Predict", ask("shift", x=double)) == (
        "INVALID_ARGUMENT",
        "Expects arg[0] to be float but double is provided",
    )


def test_a_shape_the_graph_cannot_use_gives_the_operations_own_error(target: Any) -> None:
    code, text = target.refusal("Predict", ask("types", "matmul", rows=np.zeros((2, 5))))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("Matrix size-incompatible: In[0]: [2,5], In[1]: [3,2]")


def test_a_tensor_that_contradicts_itself_does_not_parse(target: Any) -> None:
    short = floats([1.0, 2.0])
    short.ClearField("float_val")
    short.tensor_content = b"\x00" * 5
    negative = floats([1.0])
    negative.tensor_shape.dim[0].size = -3
    for proto in (short, negative):
        assert target.refusal("Predict", ask("shift", x=proto)) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_an_empty_tensor_takes_any_content_and_any_other_dimensions(target: Any) -> None:
    empty = tensor_pb2.TensorProto(dtype=1, tensor_content=b"abc")
    for size in (2**62, 0, 2**62):
        empty.tensor_shape.dim.add().size = size
    answered = target.call("Predict", ask("types", "id_float", x=empty)).outputs["y"]
    assert [dim.size for dim in answered.tensor_shape.dim] == [2**62, 0, 2**62]


def test_dimensions_count_even_where_the_rank_is_said_to_be_unknown(target: Any) -> None:
    tensor = floats([1.0, 2.0])
    tensor.tensor_shape.unknown_rank = True
    assert list(target.call("Predict", ask("types", "id_float", x=tensor)).outputs["y"].float_val) == [1.0, 2.0]


MALFORMED = {
    "a truncated int_val": b"\x3a\x01\x80",
    "a double_val of four bytes": b"\x32\x04\x00\x00\x00\x00",
    "a float_val of three bytes": b"\x2a\x03\x00\x00\x00",
    "a truncated resource_handle_val": b"\x72\x02\x12\x05",
}


@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.parametrize("model", ["types", "nobody"])
def test_bytes_that_are_no_message_are_refused_before_anything_is_looked_up(target: Any, model: str, what: str) -> None:
    tensor = floats([1.0]).SerializeToString() + MALFORMED[what]
    entry = b"\x0a\x01x\x12" + bytes([len(tensor)]) + tensor
    data = ask(model, "id_float").SerializeToString() + b"\x12" + bytes([len(entry)]) + entry
    call = target.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError) as caught:
        call(data, timeout=20)
    assert (caught.value.code().name, caught.value.details()) == ("INTERNAL", "")


def test_numbers_packed_and_not_keep_their_order(target: Any) -> None:
    one, two, three = (np.float32(n).tobytes() for n in (1, 2, 3))
    tensor = tensor_pb2.TensorProto(dtype=1, tensor_shape=tf.TensorShape([3]).as_proto()).SerializeToString()
    tensor += b"\x2d" + one + b"\x2a\x04" + two + b"\x2d" + three
    entry = b"\x0a\x01x\x12" + bytes([len(tensor)]) + tensor
    data = ask("types", "id_float").SerializeToString() + b"\x12" + bytes([len(entry)]) + entry
    call = target.channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    answered = predict_pb2.PredictResponse.FromString(call(data, timeout=20))
    assert list(answered.outputs["y"].float_val) == [1.0, 2.0, 3.0]


def test_two_inputs_that_name_one_tensor_cannot_both_be_fed(target: Any) -> None:
    expected = ("INVALID_ARGUMENT", 'Endpoint "a:0" fed more than once.')
    assert target.refusal("Predict", ask("types", "twice", a=1.0, b=2.0)) == expected


def test_a_variant_is_another_dtype_and_a_resource_is_refused(target: Any) -> None:
    variant, resource = (tensor_pb2.TensorProto(dtype=dtype) for dtype in (21, 20))
    expected = ("INVALID_ARGUMENT", "Expects arg[0] to be float but variant is provided")
    assert target.refusal("Predict", ask("types", "id_float", x=variant)) == expected
    assert target.refusal("Predict", ask("types", "id_float", x=resource))[1].startswith("Invalid resource type hash code: 0(")


def test_content_that_is_no_bool_does_not_parse(target: Any) -> None:
    tensor = tensor_pb2.TensorProto(dtype=tf.bool.as_datatype_enum, tensor_content=b"\x07")
    assert target.refusal("Predict", ask("types", "id_bool", x=tensor)) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_an_error_text_is_cut_at_1024_bytes(target: Any) -> None:
    _, text = target.refusal("Predict", ask("shift", "s" * 3000, x=[1.0]))
    assert len(text) == 1036
    assert text.endswith("...TRUNCATED")


def test_a_deadline_ends_a_run(target: Any) -> None:
    stub = target._prediction.Predict
    request = ask("types", "slow", n=tf.make_tensor_proto([10**12], tf.int64))
    with pytest.raises(Exception, match="DEADLINE_EXCEEDED"):
        stub(request, timeout=0.3)
    assert answer(target, ask("shift", x=[1.0])) == [3.0]


def test_complex_parts_come_back_as_they_were(target: Any) -> None:
    tensor = tensor_pb2.TensorProto(dtype=tf.complex64.as_datatype_enum, scomplex_val=[1.0, math.inf, -0.0, -0.0])
    tensor.tensor_shape.dim.add().size = 2
    (back,) = target.call("Predict", ask("types", "id_complex64", x=tensor)).outputs.values()
    assert [str(part) for part in back.scomplex_val] == ["1.0", "inf", "-0.0", "-0.0"]


def test_strings_may_have_many_dimensions(target: Any) -> None:
    for rank in (32, 33, 64, 65):
        tensor = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, string_val=[b"deep"])
        for _ in range(rank):
            tensor.tensor_shape.dim.add().size = 1
        (back,) = target.call("Predict", ask("types", "id_string", x=tensor)).outputs.values()
        assert (list(back.string_val), len(back.tensor_shape.dim)) == ([b"deep"], rank)


def test_names_in_refusals_are_sorted(target: Any) -> None:
    code, text = target.refusal("Predict", ask("types", "several", d=[1.0], b=[1.0]))
    assert code == "INVALID_ARGUMENT"
    assert "Inputs expected to be in the request {b,d}," in text


def test_a_refusal_quotes_bytes_as_they_are(target: Any) -> None:
    """A damaged Example is quoted by the op that parses it: a NUL does not end the text, and bytes stay as they are."""
    tensor = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, string_val=[b"a\0b\xff"])
    tensor.tensor_shape.dim.add().size = 1
    code, text = target.refusal("Predict", ask("half_plus_two", "classify_x_to_y", inputs=tensor))
    assert code == "INVALID_ARGUMENT"
    assert text.startswith("Could not parse example input, value: 'a\0b\xff'")
