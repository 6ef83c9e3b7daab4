"""The exported module: four signatures over one network.

serving_default  images uint8 [N, 28, 28] → probabilities float32 [N, 10], digit int64 [N]
drawings         image_bytes string [N] (PNG, JPEG, ...) → the same, and images as seen; of a blank one ten equal probabilities
classify         inputs string [N] (tf.Example with `images`: 784 bytes) → classes, scores, best first
about            topic string [N] → text string [N]: the artifact explains itself over the wire
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from digits import contract as c
from export.drawing_graph import images_of
from export.network_graph import Network


class Module(tf.Module):  # type: ignore[misc]
    """What is saved.  texts: what `about` answers, by topic."""

    def __init__(self, network: Network, texts: Mapping[str, str]) -> None:
        super().__init__(name="digits")
        spec = tf.TensorSpec((None, c.IMAGE_PX, c.IMAGE_PX), tf.uint8)
        self._network = tf.function(network, input_signature=[spec])  # one body, so the weights are written once
        self._texts = dict(texts)

    @tf.function(input_signature=[tf.TensorSpec((None, c.IMAGE_PX, c.IMAGE_PX), tf.uint8, name=c.IMAGES)])  # type: ignore[untyped-decorator]
    def serving_default(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(images)

    def _answer(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = self._network(images)
        return {c.PROBABILITIES: probabilities, c.DIGIT: tf.argmax(probabilities, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name=c.IMAGE_BYTES)])  # type: ignore[untyped-decorator]
    def drawings(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = images_of(image_bytes)
        answer = self._answer(images)
        blank = tf.reduce_all(tf.equal(images, 0), axis=(1, 2))  # there is no error for a single row: let nothing be sure of it
        probabilities = tf.where(blank[:, None], tf.constant(1 / c.CLASSES, tf.float32), answer[c.PROBABILITIES])
        return {**answer, c.PROBABILITIES: probabilities, c.IMAGES: images}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="inputs")])  # type: ignore[untyped-decorator]
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(inputs, {c.IMAGES: tf.io.FixedLenFeature((), tf.string)})
        pixels = tf.io.decode_raw(features[c.IMAGES], tf.uint8)
        shape = (tf.shape(inputs)[0], c.IMAGE_PX, c.IMAGE_PX)  # not -1: one example must be one image
        probabilities = self._network(tf.reshape(pixels, shape))
        scores, order = tf.math.top_k(probabilities, k=c.CLASSES)
        return {"classes": tf.as_string(order), "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name=c.TOPIC)])  # type: ignore[untyped-decorator]
    def about(self, topic: tf.Tensor) -> dict[str, tf.Tensor]:
        text = tf.fill(tf.shape(topic), "")
        for name, words in self._texts.items():
            text = tf.where(tf.equal(topic, name), tf.constant(words), text)
        return {c.TEXT: text}


def save(module: Module, folder: Path) -> None:
    """Write the SavedModel."""
    names = (c.SIGNATURE, c.DRAWINGS_SIGNATURE, c.CLASSIFY_SIGNATURE, c.ABOUT_SIGNATURE)
    signatures: dict[str, Callable[..., Any]] = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    _set_method(folder, c.CLASSIFY_SIGNATURE, "tensorflow/serving/classify")


def _set_method(folder: Path, signature: str, method: str) -> None:
    """Mark a signature for the Classify call; tf.saved_model.save calls everything a predict."""
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    saved.meta_graphs[0].signature_def[signature].method_name = method
    path.write_bytes(saved.SerializeToString(deterministic=True))
