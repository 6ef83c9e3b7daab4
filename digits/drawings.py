"""Strokes on a canvas as the page draws them, and a file of strokes that people wrote.

The pen digits are those of E. Alpaydin and F. Alimoglu, "Pen-Based Recognition of Handwritten Digits" (UCI), packed as arrays:
labels, strokes_per_digit, points_per_stroke, points (x to the right, y upwards).  They are a measure and never
train anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from digits.contract import Images28
from digits.errors import DataUnavailable
from digits.images import ink_of
from digits.png import from_canvas
from digits.preprocess import normalise

CANVAS_PX = 280
SUPERSAMPLE = 4  # the browser anti-aliases; Pillow does not


@dataclass(frozen=True)
class PenDigits:
    """Strokes float32 [points, 2] by digit, y downwards; labels uint8 [N]."""

    strokes: list[list[NDArray[np.float32]]]
    labels: NDArray[np.uint8]


def load(path: Path) -> PenDigits:
    """Read the packed strokes.  Raises DataUnavailable."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("labels", "strokes_per_digit", "points_per_stroke", "points")}
    except Exception as exc:
        wanted = "an .npz with labels, strokes_per_digit, points_per_stroke, points"
        raise DataUnavailable(f"{path} holds no pen digits ({exc}); wanted {wanted}") from exc
    for name, array in arrays.items():
        kinds, inner, wanted = ("iuf", (2,), "numbers [points, 2]") if name == "points" else ("iu", (), "whole numbers [N]")
        if array.dtype.kind not in kinds or not array.ndim or array.shape[1:] != inner:
            raise DataUnavailable(f"{path}: {name} is {array.dtype} {list(array.shape)}; wanted {wanted}")
    labels, per_digit, per_stroke, points = arrays.values()
    whole = all((counts >= 0).all() for counts in (per_digit, per_stroke))
    if not (whole and len(labels) == len(per_digit) and per_digit.sum() == len(per_stroke) and per_stroke.sum() == len(points)):
        counts = f"{len(labels)} labels, {len(per_digit)} digits of {per_digit.sum()} strokes, {len(per_stroke)} strokes of "
        raise DataUnavailable(f"{path} is not whole: {counts}{per_stroke.sum()} points, {len(points)} points")
    if not len(labels) or not np.isin(labels, range(10)).all():
        raise DataUnavailable(f"{path}: got {len(labels)} labels, of {np.unique(labels).tolist()[:12]}; wanted some, of 0 to 9")
    with np.errstate(over="ignore"):
        points = points.astype(np.float32) * np.array([1, -1], np.float32)
    if not np.isfinite(points).all():
        raise DataUnavailable(f"{path} holds points that are not finite")
    pieces = np.split(points, np.cumsum(per_stroke.astype(np.int64))[:-1])
    strokes, at = [], 0
    for count in per_digit:
        strokes.append([stroke for stroke in pieces[at : at + int(count)] if len(stroke)])
        at += int(count)
    if not all(strokes):
        raise DataUnavailable(f"{path}: digit {next(i for i, one in enumerate(strokes) if not one)} has no stroke")
    return PenDigits(strokes, labels.astype(np.uint8))


def draw(strokes: Sequence[NDArray[np.floating]], brush_px: float, size: float) -> Image.Image:
    """Draw a digit on a white canvas of 280×280 with a round black brush.

    size: the digit's longer side as a share of the canvas.
    """
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = size * CANVAS_PX / max(float((high - low).max()), 1e-6)
    offset = CANVAS_PX / 2 - (low + high) / 2 * scale
    sheet = Image.new("L", (CANVAS_PX * SUPERSAMPLE,) * 2, 255)
    pen = ImageDraw.Draw(sheet)
    radius = brush_px * SUPERSAMPLE / 2
    for stroke in strokes:
        path = [(float(x), float(y)) for x, y in (stroke * scale + offset) * SUPERSAMPLE]
        if len(path) > 1:
            pen.line(path, fill=0, width=round(brush_px * SUPERSAMPLE), joint="curve")
        for x, y in (path[0], path[-1]):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    return sheet.reduce(SUPERSAMPLE)


def png(image: Image.Image) -> bytes:
    """The drawing as a browser's canvas would send it: an RGBA PNG."""
    return from_canvas(np.asarray(image.convert("RGBA")))


def images(digits: PenDigits, brush_px: float, size: float) -> Images28:
    """Every drawing through the gateway's own preprocessing; uint8 [N, 28, 28]."""
    return np.stack(list(_each(digits, brush_px, size)))


def _each(digits: PenDigits, brush_px: float, size: float) -> Iterator[NDArray[np.uint8]]:
    for strokes in digits.strokes:
        yield normalise(ink_of(draw(strokes, brush_px, size)))
