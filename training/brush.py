"""MNIST re-rendered as a person with a round brush would have drawn it.

NIST's forms were filled in with ball pens and scanned; a canvas gives an even stroke of any
width.  Thinning a digit to its skeleton and drawing that again keeps the 55,000 shapes and
changes the tool.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.morphology import skeletonize

from digits.contract import Image28, Images28
from digits.preprocess import normalise
from digits.strokes import BRUSH

ZOOM = 4
"""28×28 is enlarged so that the skeleton runs smoothly."""
SMOOTHING = 1.2
"""Gaussian, in enlarged pixels: takes the staircase off the outline before thinning."""


def redraw(image: Image28, brush: float) -> Image28:
    """Redraw one digit with an even stroke; brush = its width over the digit's longer side."""
    side = image.shape[0] * ZOOM
    large = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC), np.float32)
    ink = ndimage.gaussian_filter(large, SMOOTHING) > 110
    if not ink.any():
        return image
    bones = skeletonize(ink)
    longer = max(np.ptp(np.flatnonzero(bones.any(axis=1))), np.ptp(np.flatnonzero(bones.any(axis=0)))) + 1
    radius = max(brush * longer / 2, 1.0)
    margin = int(radius) + 2
    distance = ndimage.distance_transform_edt(~np.pad(bones, margin))
    drawn = np.clip((radius + 0.5 - distance) * 255, 0, 255).astype(np.uint8)  # half a pixel of anti-aliasing
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return normalise(drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def redrawn(images: Images28, seed: int) -> Images28:
    """Redraw every digit, each with a brush of its own; uint8 [N, 28, 28] → the same."""
    r = np.random.default_rng(seed)
    low, high = np.log(BRUSH)
    brushes = np.exp(r.uniform(low, high, len(images)))
    return np.stack([redraw(image, float(brush)) for image, brush in zip(images, brushes, strict=True)])
