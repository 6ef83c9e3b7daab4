"""The TensorFlow-free client against the real server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from digits.__main__ import main
from digits.client import PredictClient
from digits.errors import (
    BadTensor,
    DeadlineExceeded,
    DigitsError,
    ModelNotFound,
    ModelUnavailable,
    Overloaded,
    ServingError,
)
from tests.conftest import ROOT, Server, free_port


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


@contextlib.contextmanager
def slow_line(target: str, each_way_s: float) -> Iterator[str]:
    """A proxy of TCP before a server, which holds every byte back for so long; its host:port."""

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(each_way_s)
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near = door.accept()[0]
                far = socket.create_connection((host, int(port)))
                ends.extend((near, far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pass_on, args=pair, daemon=True).start()

    host, port = target.split(":")
    ends: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as door:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield f"127.0.0.1:{door.getsockname()[1]}"
        door.shutdown(socket.SHUT_RDWR)
        accepting.join(5)
        for one in ends:
            one.close()


def test_a_server_behind_a_slow_line_is_reached(digits_server: Server) -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    with slow_line(digits_server.target, 0.2) as target, PredictClient(target) as client:
        assert client.predict(image, timeout_s=10).version == 1


def test_connecting_may_take_as_long_as_the_caller_says(digits_server: Server) -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    with slow_line(digits_server.target, 1.5) as target:
        with PredictClient(target, connect_s=0.5) as client, pytest.raises(ModelUnavailable):
            client.predict(image, timeout_s=10)
        assert main(["predict", str(ROOT / "tests/golden/opaque-7.png"), "--address", target, "--timeout", "10"]) == 0


class Answers(grpc.GenericRpcHandler):
    """Whatever is asked is answered with one code."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def service(self, _: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, context: context.abort(self._code, "inside 10.1.2.3:8500"))


@pytest.mark.parametrize(
    ("code", "kind", "outside"),
    [
        (grpc.StatusCode.UNAVAILABLE, ModelUnavailable, "no model server answers"),
        (grpc.StatusCode.CANCELLED, ServingError, "the call was cancelled"),
        (grpc.StatusCode.UNIMPLEMENTED, ServingError, "what answers is no model server"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded, "the model server did not answer in time"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded, "the model server is full"),
        (grpc.StatusCode.INTERNAL, ServingError, "the model server answered INTERNAL"),
    ],
)
def test_what_is_said_outside_names_no_address(code: grpc.StatusCode, kind: type[DigitsError], outside: str) -> None:
    server = grpc.server(ThreadPoolExecutor(1), handlers=[Answers(code)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with PredictClient(f"127.0.0.1:{port}") as client, pytest.raises(ServingError) as caught:
        client.predict(np.zeros((1, 28, 28), np.uint8), timeout_s=10)
    server.stop(None)
    assert type(caught.value) is kind
    assert str(port) in str(caught.value)
    assert caught.value.outside == outside


def test_a_closed_client_says_so(digits_server: Server) -> None:
    client = PredictClient(digits_server.target)
    client.close()
    image = np.zeros((1, 28, 28), np.uint8)
    for ask in (lambda: client.predict(image), lambda: client.predict_later(image).result(5)):
        with pytest.raises(ModelUnavailable) as caught:
            ask()
        assert caught.value.outside == "the client is closed"


def test_what_cannot_be_asked_is_said(client: PredictClient) -> None:
    with pytest.raises(BadTensor, match="got a list; wanted a numpy array"):
        client.predict([[0]])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="wanted one of them"):
        client.predict(np.zeros((1, 28, 28), np.uint8), version=1, label="stable")


@pytest.mark.parametrize("timeout_s", [float("inf"), 1e18, 10**400], ids=["infinite", "float", "int"])
def test_who_would_wait_for_ever_is_answered(digits_server: Server, timeout_s: float) -> None:
    images = np.zeros((100, 28, 28), np.uint8)
    with PredictClient(digits_server.target, connect_s=timeout_s) as client:
        assert client.predict(images, timeout_s).version == 1
        assert client.predict_later(images, timeout_s).result(10).version == 1
        assert client.versions(timeout_s)


@pytest.mark.parametrize("timeout_s", [None, "5", float("nan"), [5]])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(timeout_s: Any) -> None:
    image, said = np.zeros((1, 28, 28), np.uint8), r"got a timeout of .*; wanted a number of seconds"
    with PredictClient("127.0.0.1:1") as client:
        for ask in (
            lambda: client.predict(image, timeout_s),
            lambda: client.predict_later(image, timeout_s).result(5),
            lambda: client.versions(timeout_s),
            lambda: client.signatures(timeout_s),
            lambda: client.about(["fingerprint"], timeout_s),
        ):
            with pytest.raises(ValueError, match=said):
                ask()
    with pytest.raises(ValueError, match=said):
        PredictClient("127.0.0.1:1", connect_s=timeout_s)


@pytest.mark.parametrize("which", [{"version": "1"}, {"version": 1.0}, {"version": 2**63}, {"label": 5}, {"label": "\ud800"}])
def test_a_version_that_is_no_number_and_a_label_that_is_no_text_are_refused(which: dict[str, Any]) -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    with PredictClient("127.0.0.1:1") as client:
        with pytest.raises(ValueError, match=r"got model 'digits', version .*, label .*; wanted text, a whole number"):
            client.predict(image, **which)
        with pytest.raises(ValueError, match=r"got model 'digits', version"):
            client.predict_later(image, **which).result(5)
        if "version" in which:
            with pytest.raises(ValueError, match=r"got model 'digits', version"):
                client.signatures(1, **which)


def test_the_artifact_tells_its_fingerprint(client: PredictClient) -> None:
    from digits.contract import fingerprint

    assert client.about(["fingerprint", "no such topic"], timeout_s=10) == {"fingerprint": fingerprint(), "no such topic": ""}


def test_versions_and_signatures_can_be_read(client: PredictClient) -> None:
    assert [state.version for state in client.versions(timeout_s=10) if state.available] == [1]
    assert {"serving_default", "drawings", "classify"} <= set(client.signatures(timeout_s=10))
