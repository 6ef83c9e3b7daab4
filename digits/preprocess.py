"""A drawing → the 28×28 that the network was taught to read, exactly as MNIST was made.

LeCun et al. 1998: the ink's bounding box is scaled to fit 20×20 keeping its aspect, the grey
levels coming from the anti-aliasing, and placed in 28×28 by its centre of mass.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from digits.contract import CENTRE_PX, DIGIT_PX, IMAGE_PX, Image28
from digits.errors import BlankCanvas
from digits.images import MAX_PIXELS, Ink, decode, ink_of


def digit_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image28:
    """Image bytes → uint8 [28, 28], 0 = paper, 255 = ink.

    Raises NotAnImage, BadImage, TooLarge or BlankCanvas.
    """
    return normalise(ink_of(decode(data, max_pixels)))


def normalise(ink: Ink) -> Image28:
    """Fit cropped ink to 20×20 and place it by its centre of mass.

    ink: uint8 [h, w], its border rows and columns not empty.  Returns uint8 [28, 28].
    """
    return centre(fit(ink))


def fit(ink: Ink) -> NDArray[np.float32]:
    """Scale by area averaging so that the longer side is 20 pixels, the peak 255.

    Returns float32 [h', w'], max(h', w') = 20.
    """
    height, width = ink.shape
    longer = max(height, width)
    rows = max(1, (2 * height * DIGIT_PX + longer) // (2 * longer))  # rounds half up, like the graph
    columns = max(1, (2 * width * DIGIT_PX + longer) // (2 * longer))
    small = area_weights(height, rows) @ ink.astype(np.float32) @ area_weights(width, columns).T
    peak = small.max()
    if peak <= 0:
        raise BlankCanvas("the image is blank: every pixel is paper")
    fitted: NDArray[np.float32] = small * np.float32(255.0 / peak)
    return fitted


@lru_cache(maxsize=2048)
def area_weights(size: int, to: int) -> NDArray[np.float32]:
    """Weights that average `size` pixels into `to` by overlapping area; float32 [to, size]."""
    edges = np.arange(to + 1, dtype=np.float64) * size / to
    pixel = np.arange(size, dtype=np.float64)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    weights: NDArray[np.float32] = (np.maximum(overlap, 0) * to / size).astype(np.float32)
    weights.setflags(write=False)
    return weights


def centre(digit: NDArray[np.float32]) -> Image28:
    """Place the fitted digit so that its centre of mass is pixel (14, 14); nothing wraps or is cut.

    digit: float32 [h, w], 0 = paper, 255 = ink, at most 20×20.  Returns uint8 [28, 28].
    """
    height, width = digit.shape
    by_row, by_column = digit.sum(axis=1), digit.sum(axis=0)
    mass = by_row.sum()
    row = float(by_row @ np.arange(height, dtype=np.float32) / mass)
    column = float(by_column @ np.arange(width, dtype=np.float32) / mass)
    top = min(max(int(np.floor(CENTRE_PX - row + 0.5)), 0), IMAGE_PX - height)
    left = min(max(int(np.floor(CENTRE_PX - column + 0.5)), 0), IMAGE_PX - width)
    image: Image28 = np.zeros((IMAGE_PX, IMAGE_PX), np.uint8)
    image[top : top + height, left : left + width] = np.minimum(digit + 0.5, 255.0)
    return image
