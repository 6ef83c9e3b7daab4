"""Recorded requests that a server replays before a version serves, so that no caller pays for first runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from digits import contract as c
from digits import tensor, wire
from digits.artifact import WARMUP

BATCHES = (1, 2, 4, 8, 16, 32, 64)
"""The sizes that batching makes, up to the largest (`serving/batching.config`); each has kernels of its own to be chosen."""


def write(version_dir: Path, drawings: list[bytes], images: c.Images28) -> None:
    """Write assets.extra/tf_serving_warmup_requests: every batch size for every signature."""
    path = version_dir / WARMUP
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as out:
        for size in BATCHES:
            pick = np.resize(np.arange(len(images)), size)
            out.write(_predict(c.SIGNATURE, c.IMAGES, images=images[pick]))
            out.write(_classify(images[pick]))
            if size <= 8:  # drawings come one by one
                out.write(_predict(c.DRAWINGS_SIGNATURE, c.IMAGE_BYTES, strings=[drawings[i] for i in pick]))
        out.write(_predict(c.ABOUT_SIGNATURE, c.TOPIC, strings=[c.FINGERPRINT_TOPIC.encode()]))


def _predict(signature: str, name: str, images: c.Images28 | None = None, strings: list[bytes] | None = None) -> bytes:
    log = wire.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = c.MODEL_NAME
    request.model_spec.signature_name = signature
    if images is not None:
        tensor.fill(request.inputs[name], images)
    else:
        tensor.fill_strings(request.inputs[name], strings or [])
    return bytes(log.SerializeToString())


def _classify(images: c.Images28) -> bytes:
    log = wire.PredictionLog()
    request = log.classify_log.request
    request.model_spec.name = c.MODEL_NAME
    request.model_spec.signature_name = c.CLASSIFY_SIGNATURE
    for image in images:
        example = request.input.example_list.examples.add()
        example.features.feature[c.IMAGES].bytes_list.value.append(image.tobytes())
    return bytes(log.SerializeToString())
