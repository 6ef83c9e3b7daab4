"""Handwriting without a hand: a digit's skeleton, bent as people bend it, under a brush."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from digits.contract import Image28
from digits.curves import Random, Stroke
from digits.preprocess import normalise
from digits.skeletons import HANDS

RENDER_PX: Final = 120
"""Longer side of a rendered digit: six pixels for each of the 20 it will be averaged into."""
BRUSH: Final = (0.045, 0.26)
"""Brush width over the digit's longer side: 12 px on 224 px up to 28 px on 112 px, and a little beyond."""


def handwrite(digit: int, r: Random) -> list[Stroke]:
    """Draw one digit in a random hand: shape, wobble, slant, width and turn all vary."""
    strokes = HANDS[digit](r)
    slant, turn = r.normal(0.1, 0.2), r.normal(0, 0.09)
    stretch = r.lognormal(0, 0.17)
    shear = np.array([[stretch, -slant], [0.0, 1.0]])
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    waves, phase, size = r.normal(0, 0.7, (2, 3)), r.uniform(0, 2 * np.pi, (2, 3)), r.uniform(0.0, 0.03)
    out = []
    for stroke in strokes:
        wobble = np.zeros_like(stroke)
        for axis in (0, 1):  # a slow wave across the sheet bends all strokes alike
            for k in range(3):
                along = stroke[:, 0] * np.cos(k + axis) + stroke[:, 1] * np.sin(k + axis)
                wobble[:, axis] += waves[axis, k] * np.sin(2 * np.pi * (0.6 + 0.5 * k) * along + phase[axis, k])
        drift = r.normal(0, 0.012, 2)
        out.append(((stroke + size * wobble + drift) @ shear.T) @ rotate.T)
    return out


def render(strokes: list[Stroke], brush: float) -> Image28:
    """Draw strokes with a round brush and bring them to the wire's 28×28, as the gateway would.

    brush: its width over the digit's longer side.  Returns uint8 [28, 28].
    """
    points = np.vstack(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = RENDER_PX / max(float((high - low).max()), 1e-6)
    width = max(brush * RENDER_PX, 2.0)
    margin = width / 2 + 2
    size = np.ceil((high - low) * scale + 2 * margin).astype(int)
    sheet = Image.new("L", (int(size[0]), int(size[1])), 0)
    pen = ImageDraw.Draw(sheet)
    for stroke in strokes:
        path = [(float(x), float(y)) for x, y in (stroke - low) * scale + margin]
        if len(path) > 1:
            pen.line(path, fill=255, width=round(width), joint="curve")
        for x, y in (path[0], path[-1]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=255)
    return normalise(np.asarray(sheet.crop(sheet.getbbox())))


def synthetic(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw `count` digits, the ten classes in turn; uint8 [count, 28, 28] and labels uint8 [count]."""
    r = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    low, high = np.log(BRUSH)
    images = [render(handwrite(int(digit), r), float(np.exp(r.uniform(low, high)))) for digit in labels]
    return np.stack(images), labels
