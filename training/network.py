"""LeNet-5 v2: LeNet-5 with small kernels in pairs, batch normalisation, dropout and ReLU.

390,562 parameters, the layer names and shapes of the table in the README; nothing here knows a
back end, so it trains on TensorFlow, JAX or PyTorch alike.  Beside it stand the networks that
teach it: never served, so they may have the shapes that learn best.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
from keras import layers

from digits.contract import CLASSES, IMAGE_PX, NETWORK_PX

PARAMETERS = 390_562


def lenet5_v2(dropout: float = 0.25) -> keras.Model:
    """Build the network: float32 [N, 32, 32, 1], standardised → float32 [N, 10], rows sum to 1.

    dropout: rate after each pooling and before the output.
    """
    image = keras.Input((NETWORK_PX, NETWORK_PX, 1), name="image")
    x = layers.Conv2D(32, 5, activation="relu", name="convolution_1")(image)  # 28×28×32
    x = layers.Conv2D(32, 5, use_bias=False, name="convolution_2")(x)  # 24×24×32; the norm brings the bias
    x = layers.BatchNormalization(name="batchnorm_1")(x)
    x = layers.Activation("relu", name="relu_1")(x)
    x = layers.MaxPooling2D(2, name="pool_1")(x)  # 12×12×32
    x = layers.Dropout(dropout, name="dropout_1")(x)

    x = layers.Conv2D(64, 3, activation="relu", name="convolution_3")(x)  # 10×10×64
    x = layers.Conv2D(64, 3, use_bias=False, name="convolution_4")(x)  # 8×8×64
    x = layers.BatchNormalization(name="batchnorm_2")(x)
    x = layers.Activation("relu", name="relu_2")(x)
    x = layers.MaxPooling2D(2, name="pool_2")(x)  # 4×4×64
    x = layers.Dropout(dropout, name="dropout_2")(x)

    x = layers.Flatten(name="flatten")(x)  # 1024
    for number, width in enumerate((256, 128, 84), start=1):
        x = layers.Dense(width, use_bias=False, name=f"fully_connected_{number}")(x)
        x = layers.BatchNormalization(name=f"batchnorm_{number + 2}")(x)
        x = layers.Activation("relu", name=f"relu_{number + 2}")(x)
    x = layers.Dropout(dropout, name="dropout_3")(x)
    # the softmax in full precision whatever the others compute in: bfloat16 knows nothing between 0.996 and 1
    probabilities = layers.Dense(CLASSES, activation="softmax", dtype="float32", name="output")(x)
    return keras.Model(image, probabilities, name="lenet5_v2")


def plain(kernel: int, widths: tuple[int, ...], dropout: float = 0.25) -> keras.Model:
    """Build a teacher: convolutions of one size without padding, and no pooling, so that no place is lost.

    Same input and output as lenet5_v2.  An et al. 2020, "An Ensemble of Simple Convolutional Neural Network Models for MNIST
    Digit Recognition": the three of them, trained on MNIST alone, were right on 99.8 % each and on 99.9 % together.
    """
    image = keras.Input((NETWORK_PX, NETWORK_PX, 1), name="image")
    x = layers.Cropping2D((NETWORK_PX - IMAGE_PX) // 2)(image)  # 28×28: the rest is paper
    for width in widths:
        x = layers.Conv2D(width, kernel, use_bias=False)(x)
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.Dropout(dropout)(layers.Flatten()(x))
    probabilities = layers.Dense(CLASSES, activation="softmax", dtype="float32")(x)
    return keras.Model(image, probabilities, name=f"plain{kernel}")


TEACHERS = {
    "plain3": partial(plain, 3, tuple(range(32, 177, 16))),  # 8×8×176 at the end; 173 million multiplications an image
    "plain5": partial(plain, 5, (32, 64, 96, 128, 160)),  # 8×8×160; 137
    "plain7": partial(plain, 7, (48, 96, 144, 192)),  # 4×4×192; 148; the pupil 22
}
NETWORKS: dict[str, Callable[..., keras.Model]] = {"lenet5_v2": lenet5_v2} | TEACHERS


def rebuilt(model: keras.Model, precision: str, dropout: float = 0.25) -> keras.Model:
    """The same network and weights, computing under a Keras dtype policy."""
    again = built(model.name, precision, dropout)
    again.set_weights(model.get_weights())
    return again


def built(name: str, precision: str, dropout: float) -> keras.Model:
    """A fresh network by its name, computing under a Keras dtype policy; its weights are float32 in any."""
    outside = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return NETWORKS[name](dropout=dropout)
    finally:
        keras.config.set_dtype_policy(outside)
