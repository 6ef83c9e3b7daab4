"""Ten example digits for the page: strokes drawn by our own rules, one hand for each, on the sheet's 280 units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from digits.curves import Stroke
from digits.strokes import handwrite

SHEET = 280
DIGIT = 196
"""Longer side of an example: a digit as people draw it fills some 70 % of the sheet."""
STEP = 7.0
"""Distance of neighbouring points: close enough that the page's smoothing keeps every corner."""
HANDS = (13, 53, 17, 10, 10, 3, 7, 1, 21, 20)
"""Seeds, one a digit, chosen by eye among those that the network is sure of."""


@dataclass(frozen=True)
class Example:
    """A digit and its strokes, each as the points of an SVG polyline."""

    digit: int
    polylines: tuple[str, ...]


@cache
def examples() -> tuple[Example, ...]:
    """One example of every digit."""
    return tuple(_example(digit, seed) for digit, seed in enumerate(HANDS))


def _example(digit: int, seed: int) -> Example:
    strokes = handwrite(digit, np.random.default_rng(seed))
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = DIGIT / (high - low).max()
    placed = [(stroke - (low + high) / 2) * scale + SHEET / 2 for stroke in strokes]
    return Example(digit, tuple(" ".join(f"{x:.0f},{y:.0f}" for x, y in _evenly(stroke)) for stroke in placed))


def _evenly(stroke: Stroke) -> Stroke:
    """Points at even distances along the stroke; float64 [points, 2]."""
    along = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))))
    at = np.linspace(0, along[-1], max(2, round(along[-1] / STEP)))
    return np.stack([np.interp(at, along, stroke[:, axis]) for axis in (0, 1)], axis=1)
