"""LeNet-5 v2: LeNet-5 with small kernels in pairs, batch normalisation, dropout and ReLU.

390,562 parameters, the layer names and shapes of the table in the README; nothing here knows a
back end, so it trains on TensorFlow, JAX or PyTorch alike.  Beside it stands the network that
teaches it: never served, so it may have the shape that learns best.
"""

from __future__ import annotations

import keras
from keras import layers

from digits.contract import CLASSES, NETWORK_PX

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


def residual(dropout: float = 0.25) -> keras.Model:
    """Build the teacher: residual blocks with the norm before the convolution (He et al. 2016).

    Same input and output as lenet5_v2.  Two blocks of 48 maps at 14×14 and two of 96 at 7×7: as many
    parameters as the pupil, but nine 3×3 or 5×5 convolutions for its four, at 1.5 times its cost.
    """
    image = keras.Input((NETWORK_PX, NETWORK_PX, 1), name="image")
    x = layers.Conv2D(48, 5, use_bias=False)(image)  # 28×28×48
    x = layers.MaxPooling2D(2)(x)
    for width in (48, 48):
        x = _block(x, width)  # 14×14×48
    x = layers.MaxPooling2D(2)(x)
    for width in (96, 96):
        x = _block(x, width)  # 7×7×96
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    probabilities = layers.Dense(CLASSES, activation="softmax", dtype="float32")(x)
    return keras.Model(image, probabilities, name="residual")


def _block(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
    straight = x if x.shape[-1] == width else layers.Conv2D(width, 1, use_bias=False)(x)
    for _ in range(2):
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
    return layers.Add()([straight, x])


NETWORKS = {"lenet5_v2": lenet5_v2, "residual": residual}


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
