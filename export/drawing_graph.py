"""`digits.images` and `digits.preprocess` once more, as TensorFlow operations: bytes of a picture in, 28×28 out.

Step by step the same integers as there; tests hold the two together on golden and on pen drawings.
Reads PNG, JPEG, GIF, BMP and WebP.  Left out: EXIF turning, and averaging huge images down first.  A
blank image gives 28×28 of paper instead of an error, so that it does not fail its batch; what is no
image, or too large, does.
"""

from __future__ import annotations

import tensorflow as tf

from digits.contract import CENTRE_PX, DIGIT_PX, IMAGE_PX
from digits.images import MAX_PIXELS, MIN_CONTRAST, NOISE_FLOOR

LONGEST_PX = 16_384
"""A panorama passes; one row of sixteen million pixels would take gigabytes to fit to twenty."""


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
    height, width = tf.shape(pixels)[0], tf.shape(pixels)[1]
    fits = tf.logical_and(height * width <= MAX_PIXELS, tf.maximum(height, width) <= LONGEST_PX)
    wanted = f"wanted an image of at most {MAX_PIXELS} pixels and {LONGEST_PX} a side; got height and width"
    with tf.control_dependencies((tf.debugging.Assert(fits, (wanted, height, width)),)):
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
        return _centred(_fitted(cropped))

    return tf.cond(tf.size(rows) > 0, placed, lambda: tf.zeros((IMAGE_PX, IMAGE_PX), tf.uint8))


def _fitted(ink: tf.Tensor) -> tf.Tensor:
    """int32 [h, w] → int64 [h', w'], the longer side 20: whole numbers, which float64 adds up exactly in any order."""
    height, width = tf.shape(ink)[0], tf.shape(ink)[1]
    longer = tf.maximum(height, width)
    rows = tf.maximum(1, (2 * height * DIGIT_PX + longer) // (2 * longer))
    columns = tf.maximum(1, (2 * width * DIGIT_PX + longer) // (2 * longer))
    by_row = tf.matmul(_overlaps(height, rows), tf.cast(ink, tf.float64))
    return tf.cast(tf.matmul(by_row, _overlaps(width, columns), transpose_b=True), tf.int64)


def _overlaps(size: tf.Tensor, to: tf.Tensor) -> tf.Tensor:
    """float64 [to, size]: how much of each pixel falls into each of `to`, in units of 1/to pixel."""
    edges = tf.range(to + 1) * size
    pixel = tf.range(size) * to
    overlap = tf.minimum(edges[1:, tf.newaxis], pixel + to) - tf.maximum(edges[:-1, tf.newaxis], pixel)
    return tf.cast(tf.maximum(overlap, 0), tf.float64)


def _centred(digit: tf.Tensor) -> tf.Tensor:
    """int64 [h, w] → uint8 [28, 28] with 255 as the largest."""
    height, width = tf.shape(digit)[0], tf.shape(digit)[1]
    top = _start(tf.reduce_sum(digit, axis=1), height)
    left = _start(tf.reduce_sum(digit, axis=0), width)
    edges = ((top, IMAGE_PX - height - top), (left, IMAGE_PX - width - left))
    peak = tf.reduce_max(digit)
    placed = tf.pad((510 * digit + peak - 1) // (2 * peak), edges)
    return tf.ensure_shape(tf.cast(placed, tf.uint8), (IMAGE_PX, IMAGE_PX))


def _start(mass: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Where along one axis the digit begins so that its centre of mass comes to CENTRE_PX."""
    total, moment = tf.reduce_sum(mass), tf.reduce_sum(mass * tf.cast(tf.range(size), tf.int64))
    start = ((2 * CENTRE_PX + 1) * total - 2 * moment) // (2 * total)
    return tf.clip_by_value(tf.cast(start, tf.int32), 0, IMAGE_PX - size)
