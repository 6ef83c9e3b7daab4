"""What the peers share: how they read a picture, and ONNX Runtime, one thread a process, for there is a process a core."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

from digits.images import ink_of
from digits.preprocess import digit_image, normalise


def read(data: bytes) -> Any:
    """A picture's 28×28, uint8: decoded by Pillow, as anybody would, or with PEERS_READER=ours as the gateway does."""
    if os.environ.get("PEERS_READER") == "ours":
        return digit_image(data)
    return normalise(ink_of(Image.open(io.BytesIO(data))))


class Session:
    """Probabilities for pictures.  The model's file is named by PEERS_ONNX."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["PEERS_ONNX"], options)

    def __call__(self, images: Any) -> Any:
        """uint8 [N, 28, 28] → float32 [N, 10]."""
        return self._session.run(None, {"images": images})[0]


def answer(probabilities: Any) -> dict[str, Any]:
    """The JSON of one picture."""
    digit = int(np.argmax(probabilities))
    return {"digit": digit, "confidence": float(probabilities[digit]), "probabilities": probabilities.tolist()}
