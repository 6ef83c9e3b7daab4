"""Ways in which a digit reaches a model damaged: each takes uint8 [N, 28, 28] and gives the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from digits.contract import Images28

Corruption = Callable[[Images28], Images28]
SEED = 31_000_001


def _bytes(pixels: NDArray[np.floating]) -> Images28:
    image: Images28 = np.clip(pixels + 0.5, 0, 255).astype(np.uint8)
    return image


def noise(images: Images28) -> Images28:
    """Gaussian grain with a deviation of 40 grey levels."""
    return _bytes(images + np.random.default_rng(SEED).normal(0, 40, images.shape))


def blur(images: Images28) -> Images28:
    """Out of focus by a Gaussian of one pixel."""
    return _bytes(ndimage.gaussian_filter(images.astype(np.float32), (0, 1, 1)))


def thin(images: Images28) -> Images28:
    """A stroke a pixel or so narrower: two thirds of the way to grey erosion by a cross."""
    cross = ndimage.generate_binary_structure(2, 1)[None]
    eroded = ndimage.grey_erosion(images, footprint=cross)
    return _bytes(0.35 * images + 0.65 * eroded.astype(np.float32))  # whole erosion would leave gaps in one digit of eight


def thick(images: Images28) -> Images28:
    """A stroke two pixels wider: grey dilation by a cross."""
    return np.asarray(ndimage.grey_dilation(images, footprint=ndimage.generate_binary_structure(2, 1)[None]), np.uint8)


def shifted(down: int, right: int) -> Corruption:
    """Moved by whole pixels, nothing wrapping round."""

    def shift(images: Images28) -> Images28:
        """Move every image."""
        return np.asarray(ndimage.shift(images, (0, down, right), order=0), np.uint8)

    return shift


def turned(degrees: float) -> Corruption:
    """Turned round the middle, counter-clockwise."""

    def turn(images: Images28) -> Images28:
        """Turn every image."""
        return _bytes(ndimage.rotate(images.astype(np.float32), degrees, axes=(2, 1), reshape=False, order=1))

    return turn


CORRUPTIONS: dict[str, Corruption] = {
    "noise, deviation 40": noise,
    "blur, 1 pixel": blur,
    "thin strokes": thin,
    "thick strokes": thick,
    "2 down, 2 right": shifted(2, 2),
    "2 up, 2 left": shifted(-2, -2),
    "turned by +20°": turned(20),
    "turned by -20°": turned(-20),
}
