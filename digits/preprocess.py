"""A drawing → the 28×28 that the network was taught to read, exactly as MNIST was made.

LeCun et al. 1998: the ink's bounding box is scaled to fit 20×20 keeping its aspect, the grey
levels coming from the anti-aliasing, and placed in 28×28 by its centre of mass.

Every sum is one of whole numbers that the floating-point type holds exactly, so that the 28×28 is
the same to the last grey level on every processor, whatever order its BLAS adds in.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from digits.contract import CENTRE_PX, DIGIT_PX, IMAGE_PX, Image28
from digits.errors import BlankCanvas
from digits.images import MAX_PIXELS, Encoded, Ink, decode, ink_of

EXACT_PX: Final = 2**24 // 255
"""Ink of at most this height adds up exactly in float32; sums below 2**53 do in float64."""
KEPT_PX: Final = 320
"""A canvas's side: how pixels of at most so many fall into 20 is worked out once, and takes 25 MB at most."""


def digit_image(data: Encoded, max_pixels: int = MAX_PIXELS) -> Image28:
    """Image bytes → uint8 [28, 28], 0 = paper, 255 = ink.

    Raises NotAnImage, BadImage, TooLarge or BlankCanvas.
    """
    return normalise(ink_of(decode(data, max_pixels)))


def normalise(ink: Ink) -> Image28:
    """Fit cropped ink to 20×20 and place it by its centre of mass.

    ink: uint8 [h, w], its border rows and columns not empty.  Returns uint8 [28, 28].
    """
    return centre(fit(ink))


def fit(ink: Ink) -> NDArray[np.int64]:
    """Sum the ink that falls into each of 20 pixels along the longer side, and as many of that size along the other.

    Returns int64 [h', w'], max(h', w') = 20; its unit is 1/255 of a source pixel's ink, h'·w' times over.
    Raises BlankCanvas if there is no ink.
    """
    height, width = ink.shape
    longer = max(height, width)
    rows = max(1, (2 * height * DIGIT_PX + longer) // (2 * longer))  # rounds half up, like the graph
    columns = max(1, (2 * width * DIGIT_PX + longer) // (2 * longer))
    exact = np.float32 if height <= EXACT_PX else np.float64
    by_row = overlaps(height, rows).astype(exact, copy=False) @ ink.astype(exact)
    fitted: NDArray[np.int64] = (by_row.astype(np.float64) @ overlaps(width, columns).T.astype(np.float64)).astype(np.int64)
    if not fitted.any():
        raise BlankCanvas("the image is blank: every pixel is paper")
    return fitted


def overlaps(size: int, to: int) -> NDArray[np.float32]:
    """How much of each of `size` pixels falls into each of `to`, in units of 1/to pixel; whole numbers, float32 [to, size].

    Every row sums to size, every column to `to`.
    """
    return _kept(size, to) if size <= KEPT_PX else _overlaps(size, to)


def _overlaps(size: int, to: int) -> NDArray[np.float32]:
    edges = np.arange(to + 1) * size
    pixel = np.arange(size) * to
    overlap = np.minimum(edges[1:, None], pixel + to) - np.maximum(edges[:-1, None], pixel)
    whole: NDArray[np.float32] = np.maximum(overlap, 0).astype(np.float32)
    whole.setflags(write=False)
    return whole


_kept = lru_cache(maxsize=1024)(_overlaps)


def centre(digit: NDArray[np.int64]) -> Image28:
    """Place the fitted digit so that its centre of mass is pixel (14, 14); nothing wraps or is cut.

    digit: int64 [h, w], 0 = paper, the largest = ink, at most 20×20.  Returns uint8 [28, 28] with 255 as the largest.
    """
    height, width = digit.shape
    top = _start(digit.sum(axis=1), height)
    left = _start(digit.sum(axis=0), width)
    peak = int(digit.max())
    image: Image28 = np.zeros((IMAGE_PX, IMAGE_PX), np.uint8)
    image[top : top + height, left : left + width] = (510 * digit + peak - 1) // (2 * peak)  # a half rounds down
    return image


def _start(mass: NDArray[np.int64], size: int) -> int:
    """Where along one axis the digit begins so that its centre of mass comes to CENTRE_PX, within the image."""
    total, moment = int(mass.sum()), int(mass @ np.arange(size))
    return min(max(((2 * CENTRE_PX + 1) * total - 2 * moment) // (2 * total), 0), IMAGE_PX - size)
