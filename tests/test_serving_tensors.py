"""TensorProtos read as TensorFlow itself reads them, tensors printed as JSON, and documents too large to hold."""

from __future__ import annotations

import itertools
import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving import json_reader, messages, tensor_wire
from serving.examples import ClassificationTask
from serving.json_writer import nested
from serving.rest_replies import predictions
from serving.status import Status
from serving.tensors import FLOAT, KINDS, STRING, Tensor

FIELDS: dict[str, list[Any]] = {
    "float_val": [1.5, -0.0], "double_val": [2.5], "int_val": [300, -1, 70000], "int64_val": [-1, 2**40],
    "uint32_val": [2**32 - 1], "uint64_val": [2**64 - 1], "bool_val": [True, False], "string_val": [b"a", b"\xff\0"],
    "half_val": [15360, 70000], "scomplex_val": [1.0, 2.0], "dcomplex_val": [3.0],
}  # fmt: skip


def random_proto(chance: random.Random) -> Any:
    """A TensorProto that is mostly near to making sense."""
    proto = tensor_pb2.TensorProto(dtype=chance.choice([*KINDS, 0, 101]))
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        proto.tensor_shape.dim.add().size = chance.choice((0, 1, 2, 3, 4, -1, 1, 2))
    proto.tensor_shape.unknown_rank = chance.random() < 0.1
    own = KINDS[proto.dtype].field if proto.dtype in KINDS else ""
    for field, values in FIELDS.items():
        if chance.random() < (0.7 if field == own else 0.1):
            getattr(proto, field).extend(chance.choices(values, k=chance.randrange(6)))
    if chance.random() < 0.3:
        proto.tensor_content = chance.choice((chance.randbytes(chance.choice((1, 2, 4, 8, 16))), b"\1\0a", b"\x81\0b"))
    return proto


def by_tensorflow(proto: Any) -> Any:
    """Shape and values; None if it does not parse."""
    try:
        parsed = tf.io.parse_tensor(proto.SerializeToString(), proto.dtype)
    except (tf.errors.InvalidArgumentError, TypeError, ValueError):
        return None
    values = parsed.numpy()
    return list(parsed.shape), np.array(values, object).ravel().tolist() if proto.dtype == STRING else values.tobytes()


def by_us(proto: Any) -> Any:
    """The same of our own reading."""
    try:
        tensor = tensor_wire.read(messages.FastTensor.FromString(proto.SerializeToString()))
    except tensor_wire.Unreadable:
        return None
    return list(tensor.dims), tensor.array.ravel().tolist() if tensor.dtype == STRING else tensor.array.tobytes()


def test_tensors_are_read_as_tensorflow_reads_them() -> None:
    chance = random.Random(5)
    read = 0
    for _ in range(3000):
        proto = random_proto(chance)
        wanted = by_tensorflow(proto)
        assert by_us(proto) == wanted, proto
        read += wanted is not None
    assert read > 1000


@pytest.mark.parametrize("shape", list(itertools.product((0, 1, 2), repeat=3)))
def test_empty_dimensions_are_printed_where_they_are(shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert nested(Tensor(FLOAT, array)) == array.tolist()


def test_an_image_without_detections_still_has_its_row() -> None:
    none_found = Tensor(FLOAT, np.zeros((1, 0, 4), np.float32))
    assert predictions({"boxes": none_found}, rows=True) == b'{\n    "predictions": [[]\n    ]\n}'
    assert predictions({"boxes": none_found}, rows=False) == b'{\n    "outputs": [\n        []\n    ]\n}'


@pytest.mark.parametrize("body", [
    b"[" * 2000,
    b'{"instances": [' + b"[1]," * 2000 + b"[1]]}",
    b'{"instances": [' + b'{"x": 1},' * 2000 + b'{"x": 1}]}',
    b'{"instances": [' + b'{"x": [1]},' * 600 + b'{"x": [1]}]}',
])  # fmt: skip
def test_more_lists_and_objects_than_memory_is_for_are_refused(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(json_reader, "MAX_CONTAINERS", 1000)
    with pytest.raises(json_reader.BadJson, match="More than 1000 lists and objects"):
        json_reader.read(body)


def test_brackets_in_a_string_are_no_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_reader, "MAX_CONTAINERS", 1000)
    key = "[{" * 1000
    assert json_reader.read(f'{{"{key}": [1]}}'.encode()) == {key: [1]}


def test_classify_needs_scores_or_classes_and_minds_no_other_output() -> None:
    signature = tf.compat.v1.MetaGraphDef().signature_def["s"]
    signature.inputs["inputs"].name = "raw:0"
    for alias in ("scores", "weights"):
        signature.outputs[alias].name = f"{alias}:0"
    assert ClassificationTask.of(signature, False).fetches == ["scores:0"]
    del signature.outputs["scores"]
    with pytest.raises(Status, match="to contain at least one of"):
        ClassificationTask.of(signature, False)
