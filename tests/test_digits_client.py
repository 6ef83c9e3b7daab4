"""The TensorFlow-free client against the real server."""

from __future__ import annotations

import numpy as np
import pytest

from digits.client import PredictClient
from digits.errors import BadTensor, ModelNotFound, ModelUnavailable
from tests.conftest import Server, free_port


@pytest.fixture
def client(digits_server: Server):  # type: ignore[no-untyped-def]
    with PredictClient(digits_server.target) as made:
        yield made


def test_a_batch_is_answered_with_probabilities_that_sum_to_one(client: PredictClient) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 28, 28), np.uint8)
    prediction = client.predict(images, timeout_s=10)
    assert prediction.probabilities.shape == (5, 10)
    assert prediction.probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (prediction.digit == prediction.probabilities.argmax(axis=1)).all()
    assert prediction.version == 1


def test_another_dtype_is_refused_before_any_rpc() -> None:
    with PredictClient("127.0.0.1:1") as client, pytest.raises(BadTensor, match=r"got float32 \[1, 28, 28\]; wanted uint8"):
        client.predict(np.zeros((1, 28, 28), np.float32), timeout_s=1)  # type: ignore[arg-type]


def test_an_unknown_version_is_model_not_found(client: PredictClient) -> None:
    with pytest.raises(ModelNotFound):
        client.predict(np.zeros((1, 28, 28), np.uint8), timeout_s=10, version=99)


def test_no_server_is_model_unavailable() -> None:
    with PredictClient(f"127.0.0.1:{free_port()}") as client, pytest.raises(ModelUnavailable):
        client.predict(np.zeros((1, 28, 28), np.uint8), timeout_s=1)


def test_the_artifact_tells_its_fingerprint(client: PredictClient) -> None:
    from digits.contract import fingerprint

    assert client.about(["fingerprint", "no such topic"], timeout_s=10) == {"fingerprint": fingerprint(), "no such topic": ""}


def test_versions_and_signatures_can_be_read(client: PredictClient) -> None:
    assert [state.version for state in client.versions(timeout_s=10) if state.available] == [1]
    assert {"serving_default", "drawings", "classify"} <= set(client.signatures(timeout_s=10))
