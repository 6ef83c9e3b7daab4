"""A thin, TensorFlow-free client of the model server's gRPC API.

One channel, made by the process that uses it (never before a fork); `round_robin` over every
address that the target's name resolves to.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np

from digits import contract as c
from digits import tensor, wire
from digits.errors import BadModelOutput, BadTensor, ModelUnavailable
from digits.replies import Prediction, VersionState, parsed, read_prediction, translated

Metadata = Sequence[tuple[str, str]]

BATCH = 64
"""Images in one call: a model server takes no more into a batch (`serving/batching.config`)."""
MAX_CALLS = 64
"""Calls by predict_later at once; threads are started as they are needed."""
CLOSED = "the client is closed"

CONNECT_S = 2.0
"""How long a try to connect may take, up to the server's first frame.  A slow line needs more than a moment; but an address that
swallows everything, as that of a machine that is gone, is asked of the resolver anew only when the try is given up."""

LONGEST_S = 2_000_000.0
"""Three weeks, and what any longer time counts as: to gRPC a deadline centuries away is one that has passed."""

CHANNEL_OPTIONS = (
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.enable_http_proxy", 0),  # a proxy for the web is none for a model server nearby
    ("grpc.enable_retries", 0),  # ours are inside the caller's time
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 20_000),  # finds a peer that vanished without a word
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),  # a server that comes back is found within a second ...
    ("grpc.max_reconnect_backoff_ms", 1_000),  # ... however long it was away
    ("grpc.min_reconnect_backoff_ms", int(1000 * CONNECT_S)),  # in spite of its name: a try that fails sooner ends at once
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)


class PredictClient:
    """Asks a model server.  Thread-safe; close() it, or use it in `with`.

    target: host:port, or unix:path; connect_s: how long a try to connect may take.  Every call raises a ServingError, or
    ContractMismatch; BadTensor or ValueError for what cannot be asked.  A timeout may be infinite.
    """

    def __init__(
        self, target: str, model: str = c.MODEL_NAME, channel: grpc.Channel | None = None, connect_s: float = CONNECT_S
    ) -> None:  # fmt: skip
        self.target, self.model = target, model
        uri = target if target.startswith(("unix:", "dns:", "ipv4:", "ipv6:")) else f"dns:///{target}"
        options = {**dict(CHANNEL_OPTIONS), "grpc.min_reconnect_backoff_ms": round(1000 * _bounded(connect_s))}
        self._channel = channel or grpc.insecure_channel(uri, options=tuple(options.items()))
        self._callers = ThreadPoolExecutor(MAX_CALLS, "predict")
        self._predict = self._channel.unary_unary(wire.PREDICT)
        self._status = self._channel.unary_unary(wire.GET_MODEL_STATUS)
        self._metadata = self._channel.unary_unary(wire.GET_MODEL_METADATA)

    def __enter__(self) -> PredictClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self._channel.close()
        self._callers.shutdown(wait=False)

    def predict(
        self, images: c.Images28, timeout_s: float = 5.0, version: int | None = None, label: str | None = None,
        metadata: Metadata = (),
    ) -> Prediction:  # fmt: skip
        """Classify uint8 images [N, 28, 28], N ≥ 1; raises BadTensor for anything else.

        version, label: which to ask, one of them; ValueError for both.  More than BATCH go in several calls, one after the other,
        all answered by one version.
        """
        _check(images)
        return _read(self._ask_all(images, timeout_s, version, label, metadata), len(images))

    def predict_later(
        self, images: c.Images28, timeout_s: float = 5.0, version: int | None = None, label: str | None = None,
        metadata: Metadata = (), run: Callable[[Callable[[], None]], object] | None = None,
    ) -> Future[Prediction]:  # fmt: skip
        """Like predict, without waiting.

        run: is handed the work of reading the answer, to do it on a thread of the caller's; without it the thread that
        made the call does it.
        """
        _check(images)
        answer: Future[Prediction] = Future()

        def read(responses: Sequence[Any], error: BaseException | None) -> None:
            if answer.done():  # told that it could not be asked, it was asked all the same
                return
            try:
                if error is not None:
                    raise error
                answer.set_result(_read(responses, len(images)))
            except BaseException as exc:
                answer.set_exception(exc)

        def ask() -> None:
            responses: list[Any] = []
            error = None
            try:
                responses = self._ask_all(images, timeout_s, version, label, metadata)
            except BaseException as exc:
                error = exc
            if run is None:
                read(responses, error)
            else:
                run(lambda: read(responses, error))

        try:
            self._callers.submit(ask)  # grpc's own futures start a thread for every call that finds the channel idle; these stay
        except RuntimeError as exc:  # the executor's word for a closed client
            answer.set_exception(ModelUnavailable(f"{self.target}: {exc}", CLOSED))
        return answer

    def _ask_all(
        self, images: c.Images28, timeout_s: float, version: int | None, label: str | None, metadata: Metadata
    ) -> list[Any]:  # fmt: skip
        until = time.monotonic() + _bounded(timeout_s)
        responses: list[Any] = []
        for at in range(0, len(images), BATCH):
            if responses:
                version, label = responses[0].model_spec.version.value, None
                timeout_s = until - time.monotonic()
            request = self._request(c.SIGNATURE, version, label)
            tensor.fill(request.inputs[c.IMAGES], images[at : at + BATCH])
            responses.append(self._ask(self._predict, request, wire.PredictResponse, timeout_s, metadata))
        return responses

    def about(self, topics: Sequence[str], timeout_s: float, version: int | None = None) -> dict[str, str]:
        """What the artifact says of itself, by topic; empty for a topic it does not know."""
        request = self._request(c.ABOUT_SIGNATURE, version, None)
        tensor.fill_strings(request.inputs[c.TOPIC], [topic.encode() for topic in topics])
        response = self._ask(self._predict, request, wire.PredictResponse, timeout_s)
        texts = tensor.strings(response.outputs[c.TEXT])
        if len(texts) != len(topics):
            raise BadModelOutput(f"got {len(texts)} texts for {len(topics)} topics")
        return {topic: text.decode(errors="replace") for topic, text in zip(topics, texts, strict=True)}

    def versions(self, timeout_s: float) -> list[VersionState]:
        """Every version the server has seen, highest first."""
        request = wire.GetModelStatusRequest()
        self._name(request.model_spec)
        response = self._ask(self._status, request, wire.GetModelStatusResponse, timeout_s)
        return [VersionState(one.version, one.state, one.status.error_message) for one in response.model_version_status]

    def signatures(self, timeout_s: float, version: int | None = None) -> Mapping[str, Any]:
        """SignatureDef messages by name."""
        request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._name(request.model_spec, version)
        response = self._ask(self._metadata, request, wire.GetModelMetadataResponse, timeout_s)
        return dict(parsed(wire.SignatureDefMap, response.metadata["signature_def"].value).signature_def)

    def _request(self, signature: str, version: int | None, label: str | None) -> Any:
        if version is not None and label is not None:
            raise ValueError(f"got version {version} and label {label!r}; wanted one of them")
        request = wire.PredictRequest()
        request.model_spec.signature_name = signature
        self._name(request.model_spec, version, label)
        return request

    def _name(self, spec: Any, version: int | None = None, label: str | None = None) -> None:
        """Say in a ModelSpec which model is meant."""
        try:
            spec.name = self.model
            if version is not None:
                spec.version.value = version
            elif label is not None:
                spec.version_label = label
        except (TypeError, ValueError) as exc:  # the latter for a number past int64, and for text that is not UTF-8
            got = f"model {self.model!r}, version {version!r}, label {label!r}"
            raise ValueError(f"got {got}; wanted text, a whole number of 64 bits, text") from exc

    def _ask(self, method: Any, request: Any, response_class: Any, timeout_s: float, metadata: Metadata = ()) -> Any:
        timeout_s = _bounded(timeout_s)
        try:
            data = method(request.SerializeToString(), timeout=timeout_s, metadata=metadata)
        except ValueError as exc:  # grpc's word for a closed channel
            raise ModelUnavailable(f"{self.target}: {exc}", CLOSED) from exc
        except grpc.RpcError as exc:
            raise translated(exc, self.target) from exc
        return parsed(response_class, data)


def _bounded(timeout_s: float) -> float:
    """A time that gRPC can wait for.  Raises ValueError for what is no number of seconds."""
    try:
        if timeout_s <= math.inf:  # NaN is not
            return float(min(timeout_s, LONGEST_S))
    except (TypeError, OverflowError):
        pass
    raise ValueError(f"got a timeout of {timeout_s!r}; wanted a number of seconds")


def _check(images: c.Images28) -> None:
    if not isinstance(images, np.ndarray):
        raise BadTensor(f"got a {type(images).__name__}; wanted a numpy array, uint8 [N, 28, 28]")
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (c.IMAGE_PX, c.IMAGE_PX) or not len(images):
        raise BadTensor(f"got {images.dtype} {list(images.shape)}; wanted uint8 [N, 28, 28]")


def _read(responses: Sequence[Any], count: int) -> Prediction:
    parts = [read_prediction(one, min(BATCH, count - number * BATCH)) for number, one in enumerate(responses)]
    if len(parts) == 1:
        return parts[0]
    probabilities = np.concatenate([part.probabilities for part in parts])
    return Prediction(probabilities, np.concatenate([part.digit for part in parts]), parts[0].version)
