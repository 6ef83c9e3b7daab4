"""The kinds of request: which door of the deployment, and how many drawings in one request."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from digits import contract as c
from digits import tensor, wire
from loadtest.hands import Drawing

GATEWAY, REST, GRPC = "gateway", "rest", "grpc"
PREDICT_PATH = "/api/predict"
REST_PATH = f"/v1/models/{c.MODEL_NAME}:predict"
WRONG, UNREADABLE = "wrong digit", "unreadable answer"  # failures besides those of transport
UNANSWERED = "no answer before the end"
PNG, JSON, PROTOBUF = "image/png", "application/json", "application/protobuf"


@dataclass(frozen=True)
class Kind:
    """name: Locust's request name, one a kind.  door: who is asked.  drawings: in one request."""

    name: str
    door: str
    drawings: int


KINDS = {
    kind.name: kind
    for kind in (
        Kind("gateway, 1 drawing", GATEWAY, 1),
        Kind("gateway, 8 drawings", GATEWAY, 8),
        Kind("REST, 1 drawing", REST, 1),
        Kind("REST, 32 drawings", REST, 32),
        Kind("gRPC, 1 drawing", GRPC, 1),
        Kind("gRPC, 64 drawings", GRPC, 64),
    )
}
MAIN = "gateway, 1 drawing"


@dataclass(frozen=True)
class Prepared:
    """One request, ready to send, and the digits that are right."""

    body: bytes
    content_type: str
    labels: tuple[int, ...]


def bodies(kind: Kind, drawings: Sequence[Drawing], count: int = 40) -> list[Prepared]:
    """Requests of one kind: every drawing once for single ones, else `count` with the drawings in turn."""
    if kind.drawings == 1:
        groups = [[drawing] for drawing in drawings]
    else:
        endless = itertools.cycle(drawings)
        groups = [list(itertools.islice(endless, kind.drawings)) for _ in range(count)]
    return [Prepared(*_body(kind, group), tuple(drawing.label for drawing in group)) for group in groups]


def _body(kind: Kind, group: Sequence[Drawing]) -> tuple[bytes, str]:
    if kind.door == GATEWAY:
        if kind.drawings == 1:
            return group[0].png, PNG
        urls = ["data:image/png;base64," + base64.b64encode(one.png).decode() for one in group]
        return json.dumps({"images": urls}).encode(), JSON
    images = np.stack([one.image for one in group])
    if kind.door == REST:
        document = {"signature_name": c.SIGNATURE, "instances": images.tolist()}
        return json.dumps(document, separators=(",", ":")).encode(), JSON
    request = wire.PredictRequest()
    request.model_spec.name = c.MODEL_NAME
    request.model_spec.signature_name = c.SIGNATURE
    tensor.fill(request.inputs[c.IMAGES], images)
    return request.SerializeToString(), PROTOBUF


def digits_read(door: str, reply: bytes) -> list[int]:
    """Return the digits that an answer holds.  Raises ValueError for an answer that holds none."""
    try:
        found = _found(door, reply)
    except Exception as exc:  # whatever a broken answer provokes
        raise ValueError(f"no digits in the answer ({type(exc).__name__}: {exc}): {reply[:80]!r}") from exc
    if not found:
        raise ValueError(f"no digits in the answer: {reply[:80]!r}")
    return found


def _found(door: str, reply: bytes) -> list[int]:
    if door == GRPC:
        answer = wire.PredictResponse.FromString(reply)
        return [int(digit) for digit in tensor.array(answer.outputs[c.DIGIT])]
    document = json.loads(reply)
    if door == REST:
        return [int(one[c.DIGIT]) for one in document["predictions"]]
    return [int(one["digit"]) for one in document["results"]] if "results" in document else [int(document["digit"])]
