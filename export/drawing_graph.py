"""`digits.images` and `digits.preprocess` once more, as TensorFlow operations: PNG or JPEG bytes in, 28×28 out.

Step by step the same integers as there; tests hold the two together on golden and on pen drawings.
Left out: WebP (TensorFlow has no decoder), EXIF turning, and averaging huge images down first.  A
blank image gives 28×28 of paper instead of an error, so that it does not fail its batch.
"""

from __future__ import annotations

import tensorflow as tf

from digits.contract import CENTRE_PX, DIGIT_PX, IMAGE_PX
from digits.images import MIN_CONTRAST, NOISE_FLOOR


def images_of(image_bytes: tf.Tensor) -> tf.Tensor:
    """string [N] → uint8 [N, 28, 28], 0 = paper, 255 = ink."""
    out = tf.map_fn(_one, image_bytes, fn_output_signature=tf.TensorSpec((IMAGE_PX, IMAGE_PX), tf.uint8))
    return tf.ensure_shape(out, (None, IMAGE_PX, IMAGE_PX))


def _one(data: tf.Tensor) -> tf.Tensor:
    pixels = tf.cond(
        tf.io.is_jpeg(data),
        lambda: tf.io.decode_jpeg(data, channels=0, dct_method="INTEGER_ACCURATE"),  # as Pillow decodes; the default is rougher
        lambda: tf.io.decode_image(data, channels=0, expand_animations=False),
    )
    pixels = tf.cast(tf.ensure_shape(pixels, (None, None, None)), tf.int32)
    return _normalised(_ink(_luminance(pixels)))


def _luminance(pixels: tf.Tensor) -> tf.Tensor:
    """int32 [H, W, 1 to 4] → int32 [H, W]: Rec. 601 in Pillow's fixed point, on paper that fits the ink."""
    channels = tf.shape(pixels)[2]
    red, last = pixels[..., 0], pixels[..., -1]

    def coloured() -> tf.Tensor:
        return (red * 19595 + pixels[..., 1] * 38470 + pixels[..., 2] * 7471 + 0x8000) // 0x10000

    grey = tf.cond(channels >= 3, coloured, lambda: red)
    has_alpha = tf.logical_or(tf.equal(channels, 2), tf.equal(channels, 4))
    alpha = tf.where(has_alpha, last, tf.fill(tf.shape(last), 255))
    light = tf.reduce_sum(tf.cast(_div255(grey * alpha), tf.int64))
    seen = tf.reduce_sum(tf.cast(alpha, tf.int64))
    behind = tf.where(2 * light < seen, 255, 0)
    return _div255(behind * (255 - alpha) + grey * alpha)


def _div255(value: tf.Tensor) -> tf.Tensor:
    """Pillow's rounded division by 255."""
    value = value + 128
    return (value // 256 + value) // 256


def _ink(grey: tf.Tensor) -> tf.Tensor:
    """int32 [H, W] → ink int32 [H, W], 0 everywhere if the image is blank (digits.images.ink_table)."""
    border = tf.concat((grey[0], grey[-1], grey[:, 0], grey[:, -1]), axis=0)
    middle = (tf.size(border) - 1) // 2
    paper = tf.sort(border)[middle]
    grain = tf.sort(tf.abs(border - paper))[middle]
    below, above = paper - tf.reduce_min(grey), tf.reduce_max(grey) - paper
    contrast = tf.maximum(below, above)
    floor = tf.maximum(contrast // NOISE_FLOOR, 4 * grain)
    depth = tf.where(below >= above, paper - grey, grey - paper)
    depth = tf.where(depth <= floor, 0, depth)
    safe = tf.maximum(contrast, 1)
    ink = tf.minimum((depth * 255 + contrast // 2) // safe, 255)
    blank = tf.logical_or(contrast < MIN_CONTRAST, contrast <= floor)
    return tf.where(blank, tf.zeros_like(ink), ink)


def _normalised(ink: tf.Tensor) -> tf.Tensor:
    """Crop, fit to 20×20, place by the centre of mass; int32 [H, W] → uint8 [28, 28]."""
    rows = tf.where(tf.reduce_any(ink > 0, axis=1))[:, 0]
    columns = tf.where(tf.reduce_any(ink > 0, axis=0))[:, 0]

    def placed() -> tf.Tensor:
        cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return _centred(_fitted(tf.cast(cropped, tf.float32)))

    return tf.cond(tf.size(rows) > 0, placed, lambda: tf.zeros((IMAGE_PX, IMAGE_PX), tf.uint8))


def _fitted(ink: tf.Tensor) -> tf.Tensor:
    height, width = tf.shape(ink)[0], tf.shape(ink)[1]
    longer = tf.maximum(height, width)
    rows = tf.maximum(1, (2 * height * DIGIT_PX + longer) // (2 * longer))
    columns = tf.maximum(1, (2 * width * DIGIT_PX + longer) // (2 * longer))
    small = tf.matmul(tf.matmul(_area_weights(height, rows), ink), _area_weights(width, columns), transpose_b=True)
    return small * (255.0 / tf.reduce_max(small))


def _area_weights(size: tf.Tensor, to: tf.Tensor) -> tf.Tensor:
    """float32 [to, size]; rows average by overlapping area."""
    exact_size, exact_to = tf.cast(size, tf.float64), tf.cast(to, tf.float64)
    edges = tf.cast(tf.range(to + 1), tf.float64) * exact_size / exact_to
    pixel = tf.cast(tf.range(size), tf.float64)
    overlap = tf.minimum(edges[1:, tf.newaxis], pixel + 1.0) - tf.maximum(edges[:-1, tf.newaxis], pixel)
    return tf.cast(tf.maximum(overlap, 0.0) * exact_to / exact_size, tf.float32)


def _centred(digit: tf.Tensor) -> tf.Tensor:
    height, width = tf.shape(digit)[0], tf.shape(digit)[1]
    by_row, by_column = tf.reduce_sum(digit, axis=1), tf.reduce_sum(digit, axis=0)
    mass = tf.reduce_sum(by_row)
    row = tf.reduce_sum(by_row * tf.cast(tf.range(height), tf.float32)) / mass
    column = tf.reduce_sum(by_column * tf.cast(tf.range(width), tf.float32)) / mass
    top = tf.clip_by_value(tf.cast(tf.floor(CENTRE_PX - row + 0.5), tf.int32), 0, IMAGE_PX - height)
    left = tf.clip_by_value(tf.cast(tf.floor(CENTRE_PX - column + 0.5), tf.int32), 0, IMAGE_PX - width)
    edges = ((top, IMAGE_PX - height - top), (left, IMAGE_PX - width - left))
    placed = tf.pad(tf.minimum(digit + 0.5, 255.0), edges)
    return tf.ensure_shape(tf.cast(placed, tf.uint8), (IMAGE_PX, IMAGE_PX))
