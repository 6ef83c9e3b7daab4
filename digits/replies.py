"""What a model server answers, held against the contract, and its errors as this project's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from digits import contract as c
from digits import tensor
from digits.errors import (
    BadModelOutput,
    ContractMismatch,
    DeadlineExceeded,
    DigitsError,
    ModelNotFound,
    ModelUnavailable,
    Overloaded,
    ServingError,
)

AVAILABLE = 30  # ModelVersionStatus.State


@dataclass(frozen=True)
class Prediction:
    """Answers for N images, and the version that gave them.

    probabilities: float32 [N, 10]; digit: int64 [N].
    """

    probabilities: c.Probabilities
    digit: NDArray[np.int64]
    version: int


@dataclass(frozen=True)
class VersionState:
    """One row of GetModelStatus."""

    version: int
    state: int
    error: str

    @property
    def available(self) -> bool:
        """Whether requests for it are answered."""
        return self.state == AVAILABLE


def parsed(kind: Any, data: bytes) -> Any:
    """A message of a kind.  Raises BadModelOutput."""
    try:
        return kind.FromString(data)
    except DecodeError as exc:
        raise BadModelOutput(f"got {len(data)} bytes that are no {kind.DESCRIPTOR.name}") from exc


def read_prediction(response: Any, count: int) -> Prediction:
    """Check a PredictResponse against the contract.  Raises BadModelOutput."""
    outputs = response.outputs
    missing = [name for name in (c.PROBABILITIES, c.DIGIT) if name not in outputs]
    if missing:
        raise BadModelOutput(f"got outputs {sorted(outputs)}; wanted {c.PROBABILITIES} and {c.DIGIT}")
    probabilities, digit = tensor.array(outputs[c.PROBABILITIES]), tensor.array(outputs[c.DIGIT])
    kinds = probabilities.dtype == np.float32 and digit.dtype == np.int64
    if not kinds or probabilities.shape != (count, c.CLASSES) or digit.shape != (count,):
        got = f"{probabilities.dtype} {list(probabilities.shape)} and {digit.dtype} {list(digit.shape)}"
        raise BadModelOutput(f"got {got}; wanted float32 [{count}, {c.CLASSES}] and int64 [{count}]")
    if not np.isfinite(probabilities).all():
        raise BadModelOutput("got probabilities that are not finite")
    return Prediction(probabilities, digit, int(response.model_spec.version.value))


_BY_CODE: dict[grpc.StatusCode, tuple[type[DigitsError], str]] = {
    grpc.StatusCode.UNAVAILABLE: (ModelUnavailable, "no model server answers"),
    grpc.StatusCode.CANCELLED: (ServingError, "the call was cancelled"),
    grpc.StatusCode.UNIMPLEMENTED: (ServingError, "what answers is no model server"),
    grpc.StatusCode.NOT_FOUND: (ModelNotFound, ""),
    grpc.StatusCode.DEADLINE_EXCEEDED: (DeadlineExceeded, "the model server did not answer in time"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (Overloaded, "the model server is full"),
    grpc.StatusCode.FAILED_PRECONDITION: (ContractMismatch, ""),
    grpc.StatusCode.INVALID_ARGUMENT: (ContractMismatch, ""),
}
"""The error, and what to say of it outside; where nothing stands there, the server's own words, which are about the request."""


def translated(exc: grpc.RpcError, target: str) -> DigitsError:
    """One of this project's errors for one of gRPC's."""
    code, details = exc.code(), exc.details() or ""
    kind, outside = _BY_CODE.get(code, (ServingError, f"the model server answered {code.name}"))
    if code is grpc.StatusCode.INVALID_ARGUMENT and "version label" in details:
        kind = ModelNotFound
    if code is grpc.StatusCode.UNAVAILABLE and "queue" in details:
        kind, outside = _BY_CODE[grpc.StatusCode.RESOURCE_EXHAUSTED]  # the batching queue is full
    return kind(f"{target}: {code.name}: {details}", outside or f"the model server answered {code.name}: {details}")
