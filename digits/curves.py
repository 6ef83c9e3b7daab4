"""Lines that strokes are made of: splines, corners, arcs.

A stroke is float64 [points, 2], x to the right, y downwards.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Random = np.random.Generator
Stroke = NDArray[np.float64]


def curve(*points: tuple[float, float], steps: int = 10) -> Stroke:
    """Join points by a centripetal Catmull-Rom spline: smooth, through every point."""
    p = np.array(points, np.float64)
    if len(p) < 3:
        return p
    p = np.vstack((2 * p[0] - p[1], p, 2 * p[-1] - p[-2]))
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = []
    for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
        pieces.append(b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))))
    return np.vstack((*pieces, p[-2:-1]))


def line(*points: tuple[float, float]) -> Stroke:
    """Join points by straight lines: a corner stays a corner."""
    return np.array(points, np.float64)


def arc(centre: tuple[float, float], radii: tuple[float, float], start: float, sweep: float, squareness: float = 2.0) -> Stroke:
    """Part of a (super-)ellipse; angles in turns, 0 = right, growing clockwise on paper."""
    angle = 2 * np.pi * (start + np.linspace(0, sweep, 40))
    cos, sin = np.cos(angle), np.sin(angle)
    x = np.sign(cos) * np.abs(cos) ** (2 / squareness)
    y = np.sign(sin) * np.abs(sin) ** (2 / squareness)
    return np.stack((centre[0] + radii[0] * x, centre[1] + radii[1] * y), axis=1)
