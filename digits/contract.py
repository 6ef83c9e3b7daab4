"""What the stages agree on: tensor names, shapes, dtypes, and the fingerprint that proves it.

On the wire a digit is MNIST's own form: uint8 [28, 28], 0 = paper, 255 = ink, the digit fitted to
20×20 and placed by its centre of mass (LeCun et al. 1998).  Padding and standardising happen
inside the exported graph, so no client can get them wrong.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

import numpy as np
from numpy.typing import NDArray

MODEL_NAME: Final = "digits"

IMAGE_PX: Final = 28
"""Side of the image on the wire."""
DIGIT_PX: Final = 20
"""The digit's longer side inside it."""
CENTRE_PX: Final = 14
"""Pixel index on which the centre of mass lies (MNIST's training set: 14.00 ± 0.29 on both axes)."""
NETWORK_PX: Final = 32
"""Side of the network's input, as in LeNet-5."""
CLASSES: Final = 10

SIGNATURE: Final = "serving_default"
IMAGES: Final = "images"
PROBABILITIES: Final = "probabilities"
DIGIT: Final = "digit"

DRAWINGS_SIGNATURE: Final = "drawings"
IMAGE_BYTES: Final = "image_bytes"

CLASSIFY_SIGNATURE: Final = "classify"

ABOUT_SIGNATURE: Final = "about"
TOPIC: Final = "topic"
TEXT: Final = "text"
FINGERPRINT_TOPIC: Final = "fingerprint"
CARD_TOPIC: Final = "digits.json"
MODEL_CARD_TOPIC: Final = "README.md"

Image28 = NDArray[np.uint8]
"""uint8 [28, 28], 0 = paper, 255 = ink."""
Images28 = NDArray[np.uint8]
"""uint8 [N, 28, 28], 0 = paper, 255 = ink."""
Probabilities = NDArray[np.float32]
"""float32 [N, 10], rows sum to 1."""

GOLDEN_SHA256: Final = "ce4713fc9a0919e4f584872615fc5a97655f70b5983b87d900a80e6c1931de8b"
"""Digest of tests/golden (drawings and their expected 28×28); a test recomputes it."""


def fingerprint() -> str:
    """SHA-256 (hex) of everything above that a client and an artifact must share."""
    agreed = {
        "images": ["uint8", [None, IMAGE_PX, IMAGE_PX]],
        "probabilities": ["float32", [None, CLASSES]],
        "digit": ["int64", [None]],
        "names": [SIGNATURE, IMAGES, PROBABILITIES, DIGIT],
        "placement": [DIGIT_PX, CENTRE_PX],
        "golden": GOLDEN_SHA256,
    }
    return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()
