"""`python -m export.fresh VERSION QUESTIONS ANSWERS`: what a SavedModel answers in a process that knows nothing else."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from digits import contract as c

BATCH = 250


def main(version_dir: str, questions: str, answers: str) -> None:
    """Load the version, run its four signatures, write the outputs."""
    with np.load(questions) as file:
        images, seen, joined, lengths = (file[name] for name in ("images", "seen", "drawings", "lengths"))
    drawings = [part.tobytes() for part in np.split(joined, np.cumsum(lengths)[:-1])]
    loaded = tf.saved_model.load(version_dir)
    default, drawn = loaded.signatures[c.SIGNATURE], loaded.signatures[c.DRAWINGS_SIGNATURE]

    def whole(signature: Any, name: str, values: Sequence[bytes] | NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        parts = [signature(**{name: tf.constant(values[at : at + BATCH])}) for at in range(0, len(values), BATCH)]
        return {key: np.concatenate([part[key].numpy() for part in parts]) for key in parts[0]}

    plain, again, from_bytes = (
        whole(default, c.IMAGES, images),
        whole(default, c.IMAGES, seen),
        whole(drawn, c.IMAGE_BYTES, drawings),
    )
    examples = [_example(image.tobytes()) for image in seen]
    classified = whole(loaded.signatures[c.CLASSIFY_SIGNATURE], "inputs", examples)
    told = whole(loaded.signatures[c.ABOUT_SIGNATURE], c.TOPIC, [c.FINGERPRINT_TOPIC.encode()])
    empty = [
        default(**{c.IMAGES: tf.zeros((0, c.IMAGE_PX, c.IMAGE_PX), tf.uint8)}),
        drawn(**{c.IMAGE_BYTES: tf.zeros((0,), tf.string)}),
        loaded.signatures[c.CLASSIFY_SIGNATURE](inputs=tf.zeros((0,), tf.string)),
    ]
    np.savez(
        answers,
        probabilities=plain[c.PROBABILITIES],
        digit=plain[c.DIGIT],
        seen_digit=again[c.DIGIT],
        drawn_images=from_bytes[c.IMAGES],
        drawn_digit=from_bytes[c.DIGIT],
        classified=classified["classes"][:, 0].astype(np.bytes_),
        about=told[c.TEXT].astype(np.bytes_),
        empty=[len(rows) for outputs in empty for rows in outputs.values()],
    )


def _example(image: bytes) -> bytes:
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    return bytes(tf.train.Example(features=tf.train.Features(feature={c.IMAGES: feature})).SerializeToString())


if __name__ == "__main__":
    main(*sys.argv[1:4])
