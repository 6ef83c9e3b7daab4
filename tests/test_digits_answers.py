"""Answers that break the contract, or are no answers at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from digits import contract as c
from digits import tensor, wire
from digits.client import PredictClient
from digits.errors import BadModelOutput


def good() -> Any:
    """An answer for one image."""
    response = wire.PredictResponse()
    response.model_spec.version.value = 1
    tensor.fill(response.outputs[c.PROBABILITIES], np.full((1, 10), 0.1, np.float32))
    tensor.fill(response.outputs[c.DIGIT], np.zeros(1, np.int64))
    return response


class Channel:
    """Answers every call with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def unary_unary(self, method: str) -> Callable[..., bytes]:
        return lambda request, **_: self._answer

    def close(self) -> None:
        """Nothing to close."""


def client(answer: bytes) -> PredictClient:
    return PredictClient("x", channel=Channel(answer))  # type: ignore[arg-type]


def cut(response: Any) -> None:
    response.outputs[c.PROBABILITIES].tensor_content = b"abc"


def negative(response: Any) -> None:
    response.outputs[c.PROBABILITIES].tensor_shape.dim[0].size = -1
    response.outputs[c.PROBABILITIES].tensor_shape.dim[1].size = -10


def short(response: Any) -> None:
    response.outputs[c.PROBABILITIES].tensor_shape.dim[0].size = 2


def floats_for_digits(response: Any) -> None:
    response.outputs[c.DIGIT].Clear()
    tensor.fill(response.outputs[c.DIGIT], np.zeros(1, np.float32))


def too_large(response: Any) -> None:
    digit = response.outputs[c.DIGIT]
    digit.dtype, digit.tensor_content = wire.DataType["DT_UINT8"].number, b""
    digit.int_val.append(300)


def not_finite(response: Any) -> None:
    response.outputs[c.PROBABILITIES].tensor_content = np.full(10, np.nan, np.float32).tobytes()


def nothing(response: Any) -> None:
    del response.outputs[c.DIGIT]


@pytest.mark.parametrize("spoil", [cut, negative, short, floats_for_digits, too_large, not_finite, nothing])
def test_tensors_that_break_the_contract_are_bad_output(spoil: Callable[[Any], None]) -> None:
    response, image = good(), np.zeros((1, 28, 28), np.uint8)
    assert client(response.SerializeToString()).predict(image).version == 1
    spoil(response)
    with pytest.raises(BadModelOutput, match="got "):
        client(response.SerializeToString()).predict(image)


def test_bytes_that_are_no_message_are_bad_output() -> None:
    with pytest.raises(BadModelOutput, match="got 3 bytes that are no PredictResponse"):
        client(b"\xff\xff\xff").predict(np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(BadModelOutput, match="GetModelStatusResponse"):
        client(b"\xff\xff\xff").versions(1)
    packed = wire.GetModelMetadataResponse()
    packed.metadata["signature_def"].value = b"\xff\xff\xff"
    with pytest.raises(BadModelOutput, match="SignatureDefMap"):
        client(packed.SerializeToString()).signatures(1)


def test_fewer_texts_than_topics_are_bad_output() -> None:
    response = wire.PredictResponse()
    tensor.fill_strings(response.outputs[c.TEXT], [b"one"])
    with pytest.raises(BadModelOutput, match="got 1 texts for 2 topics"):
        client(response.SerializeToString()).about(("a", "b"), 1)
