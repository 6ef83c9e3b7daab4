"""The trained network as plain TensorFlow operations, for inference only.

Batch normalisation is folded into the weights before it, standardising into the first convolution,
the temperature into the output layer.  Weights are constants: a server's optimizer can then fuse
convolution, bias and ReLU into one kernel, which it cannot across variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from digits.contract import IMAGE_PX, NETWORK_PX

Weights = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A kernel and its bias."""

    kernel: Weights
    bias: Weights


@dataclass(frozen=True)
class Network:
    """LeNet-5 v2 without anything that only training needs."""

    convolutions: tuple[Layer, ...]  # four; pooling after the second and the fourth
    dense: tuple[Layer, ...]  # three with ReLU, then the output

    @classmethod
    def of(cls, model: Any, mean: float, deviation: float, temperature: float) -> Network:
        """Fold a Keras model.  mean, deviation: of the training pixels, grey levels."""

        def kernel(name: str) -> Weights:
            return np.asarray(model.get_layer(name).kernel, np.float32)

        def with_bias(name: str) -> Layer:
            return Layer(kernel(name), np.asarray(model.get_layer(name).bias, np.float32))

        def standardising(name: str) -> Layer:
            weights, bias = kernel(name).astype(np.float64), np.asarray(model.get_layer(name).bias, np.float64)
            shift = weights.sum(axis=(0, 1, 2)) * mean / deviation  # paper around the image is grey level 0 too
            return Layer((weights / deviation).astype(np.float32), (bias - shift).astype(np.float32))

        def normalised(name: str, norm: str) -> Layer:
            layer = model.get_layer(norm)
            gamma, beta, centre, variance = (
                np.asarray(v, np.float64) for v in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
            )
            scale = gamma / np.sqrt(variance + layer.epsilon)
            return Layer((kernel(name) * scale).astype(np.float32), (beta - centre * scale).astype(np.float32))

        last = with_bias("output")
        output = Layer(last.kernel / np.float32(temperature), last.bias / np.float32(temperature))
        return cls(
            convolutions=(
                standardising("convolution_1"), normalised("convolution_2", "batchnorm_1"),
                with_bias("convolution_3"), normalised("convolution_4", "batchnorm_2"),
            ),
            dense=(*(normalised(f"fully_connected_{n}", f"batchnorm_{n + 2}") for n in (1, 2, 3)), output),
        )  # fmt: skip

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """images: uint8 [N, 28, 28] → probabilities float32 [N, 10].

        N may be 0: oneDNN's convolution gives an empty batch the wrong shape, so it runs on one row, which is then dropped.
        """
        edge, number = (NETWORK_PX - IMAGE_PX) // 2, tf.shape(images)[0]
        x = tf.pad(images, ((0, tf.cast(number == 0, tf.int32)), (edge, edge), (edge, edge)))
        x = tf.cast(x, tf.float32)[..., tf.newaxis]  # [max(N, 1), 32, 32, 1]
        for index, layer in enumerate(self.convolutions, start=1):
            x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, layer.kernel, strides=1, padding="VALID"), layer.bias))
            if index % 2 == 0:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")  # [max(N, 1), 12, 12, 32], then [max(N, 1), 4, 4, 64]
        x = tf.reshape(x, (-1, 1024))
        for layer in self.dense[:-1]:
            x = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, layer.kernel), layer.bias))
        output = self.dense[-1]
        return tf.nn.softmax(tf.nn.bias_add(tf.matmul(x, output.kernel), output.bias))[:number]
