"""Random distortions that keep a digit's meaning: turn, zoom, shear, shift, elastic waves, pen pressure.

All on whole batches in numpy, so one core keeps well ahead of the network's two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from digits.contract import NETWORK_PX, Images28
from training.data import padded

Pixels = NDArray[np.float32]


SPREAD = 1.6  # a Distortion is so many deviations of the normal one that is drawn


@dataclass(frozen=True)
class Distortion:
    """How far a digit may be bent."""

    rotation_deg: float = 11.0  # five eighths are the deviation (SPREAD); people turn their wrists, ±10° at the least
    zoom: float = 0.12  # a digit filling 18 to 22 of the 20 pixels, and each axis a little apart
    shear: float = 0.18  # slant: from upright to cursive
    shift_px: float = 2.0  # the centre of mass is exact to half a pixel, brushes and blobs move it
    elastic_px: float = 1.3  # Simard et al. 2003; above 1.8 pixels a 4 turns into a 9
    elastic_knots: int = 6  # control points a side: waves of five pixels and more
    thickness: float = 0.5  # share of digits whose stroke is thinned or fattened
    grain: float = 0.12  # share of digits with noise or blur, for bad scans

    def scaled(self, by: float) -> Distortion:
        """The same distortion, `by` times as strong."""
        bent = {name: by * getattr(self, name) for name in ("rotation_deg", "zoom", "shear", "shift_px", "elastic_px")}
        return replace(self, **bent, thickness=by * self.thickness, grain=by * self.grain)


def _upsampler(knots: int, size: int) -> NDArray[np.float32]:
    """Cubic interpolation from `knots` control values to `size` pixels; float32 [size, knots]."""
    at = np.linspace(0, knots - 1, size)
    return np.stack([ndimage.map_coordinates(unit, at[None], order=3, mode="nearest") for unit in np.eye(knots)], 1).astype(
        np.float32
    )


class Augmenter:
    """Distort batches: uint8 [N, 28, 28] → float32 [N, 32, 32], grey levels 0 to 255."""

    def __init__(self, how: Distortion | None = None) -> None:
        self.how = how or Distortion()
        self._up = _upsampler(self.how.elastic_knots, NETWORK_PX)
        axis = np.arange(NETWORK_PX, dtype=np.float32) - (NETWORK_PX - 1) / 2
        self._y, self._x = np.meshgrid(axis, axis, indexing="ij")

    def __call__(self, images: Images28, r: np.random.Generator) -> Pixels:
        """Distort each image in its own random way."""
        return self._grain(self._pressure(self._warp(padded(images), r), r), r)

    def _warp(self, images: NDArray[np.uint8], r: np.random.Generator) -> Pixels:
        n, how, size = len(images), self.how, NETWORK_PX
        angle = np.deg2rad(r.normal(0, how.rotation_deg / SPREAD, n)).astype(np.float32)
        zoom_y, zoom_x = np.exp(r.normal(0, how.zoom / SPREAD, (2, n))).astype(np.float32)
        shear = r.normal(0, how.shear / SPREAD, n).astype(np.float32)
        shift_y, shift_x = r.normal(0, how.shift_px / SPREAD, (2, n)).astype(np.float32)
        cos, sin = np.cos(angle), np.sin(angle)
        a, b = cos / zoom_y, sin / zoom_y  # where each output pixel is read from
        c, d = -sin / zoom_x + shear * a, cos / zoom_x + shear * b
        knots = r.normal(0, 1, (2, n, how.elastic_knots, how.elastic_knots)).astype(np.float32)
        waves = np.matmul(np.matmul(self._up, knots), self._up.T) * (
            how.elastic_px * r.uniform(0, 1, (n, 1, 1)).astype(np.float32)
        )
        centre = (size - 1) / 2
        col = (slice(None), None, None)
        y = a[col] * self._y + b[col] * self._x + waves[0] + (shift_y + centre)[col]
        x = c[col] * self._y + d[col] * self._x + waves[1] + (shift_x + centre)[col]
        return _sample(images, y, x)

    def _pressure(self, pixels: Pixels, r: np.random.Generator) -> Pixels:
        n = len(pixels)
        amount = np.where(r.random(n) < self.how.thickness, r.uniform(-1, 1.2, n), 0).astype(np.float32)
        for which, neighbour in ((amount > 0, np.maximum), (amount < 0, np.minimum)):
            some = pixels[which]
            if not len(some):
                continue
            edge = np.pad(some, ((0, 0), (1, 1), (1, 1)))
            spread = some
            for window in (edge[:, :-2, 1:-1], edge[:, 2:, 1:-1], edge[:, 1:-1, :-2], edge[:, 1:-1, 2:]):
                spread = neighbour(spread, window)
            share = np.minimum(np.abs(amount[which]), 1)[:, None, None] * (1.0 if neighbour is np.maximum else 0.6)
            pixels[which] = some + share * (spread - some)
        return pixels

    def _grain(self, pixels: Pixels, r: np.random.Generator) -> Pixels:
        n = len(pixels)
        chance = r.random(n)
        noisy, blurred = chance < self.how.grain / 2, (chance >= self.how.grain / 2) & (chance < self.how.grain)
        if noisy.any():
            level = r.uniform(5, 45, (noisy.sum(), 1, 1)).astype(np.float32)
            pixels[noisy] += level * r.standard_normal(pixels[noisy].shape, np.float32)
        if blurred.any():
            pixels[blurred] = ndimage.gaussian_filter(pixels[blurred], (0, *[r.uniform(0.4, 1.0)] * 2))
        return np.clip(pixels, 0, 255)


def _sample(images: NDArray[np.uint8], y: Pixels, x: Pixels) -> Pixels:
    """Read images at (y, x) bilinearly; outside is paper."""
    n, size = len(images), NETWORK_PX
    edge = np.zeros((n, size + 2, size + 2), np.float32)
    edge[:, 1:-1, 1:-1] = images
    y, x = np.clip(y + 1, 0, size + 0.999), np.clip(x + 1, 0, size + 0.999)
    top, left = y.astype(np.int32), x.astype(np.int32)
    fy, fx = y - top, x - left
    flat = edge.reshape(-1)
    at = top * (size + 2) + left + (np.arange(n, dtype=np.int32) * (size + 2) ** 2)[:, None, None]
    upper = flat[at] * (1 - fx) + flat[at + 1] * fx
    lower = flat[at + size + 2] * (1 - fx) + flat[at + size + 3] * fx
    sampled: Pixels = (upper * (1 - fy) + lower * fy).astype(np.float32)
    return sampled
