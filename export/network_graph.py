"""The trained network as plain TensorFlow operations, for inference only.

Batch normalisation is folded into the weights before it, the temperature into the output layer,
padding and standardising come first.  Weights are constants: a server's optimizer can then fuse
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
    mean: float
    deviation: float

    @classmethod
    def of(cls, model: Any, mean: float, deviation: float, temperature: float) -> Network:
        """Fold a Keras model.  mean, deviation: of the training pixels, grey levels."""

        def kernel(name: str) -> Weights:
            return np.asarray(model.get_layer(name).kernel, np.float32)

        def with_bias(name: str) -> Layer:
            return Layer(kernel(name), np.asarray(model.get_layer(name).bias, np.float32))

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
                with_bias("convolution_1"), normalised("convolution_2", "batchnorm_1"),
                with_bias("convolution_3"), normalised("convolution_4", "batchnorm_2"),
            ),
            dense=(*(normalised(f"fully_connected_{n}", f"batchnorm_{n + 2}") for n in (1, 2, 3)), output),
            mean=mean, deviation=deviation,
        )  # fmt: skip

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """images: uint8 [N, 28, 28] → probabilities float32 [N, 10]."""
        edge = (NETWORK_PX - IMAGE_PX) // 2
        x = tf.pad(tf.cast(images, tf.float32), ((0, 0), (edge, edge), (edge, edge)))
        x = ((x - self.mean) * (1.0 / self.deviation))[..., tf.newaxis]  # [N, 32, 32, 1]
        for number, layer in enumerate(self.convolutions, start=1):
            x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, layer.kernel, strides=1, padding="VALID"), layer.bias))
            if number % 2 == 0:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")  # [N, 12, 12, 32], then [N, 4, 4, 64]
        x = tf.reshape(x, (-1, 1024))
        for layer in self.dense[:-1]:
            x = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, layer.kernel), layer.bias))
        output = self.dense[-1]
        return tf.nn.softmax(tf.nn.bias_add(tf.matmul(x, output.kernel), output.bias))
