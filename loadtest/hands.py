"""The drawings that are sent: our own synthetic hands on canvases of several sizes, each with its label.

They are prepared before a run, so that a run measures the deployment and not the drawing.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from PIL import Image

from digits.contract import Image28
from digits.drawings import draw
from digits.preprocess import digit_image
from digits.strokes import handwrite

COUNT = 120
SEED = 20_011
CANVAS_PX = (140, 224, 280, 280, 420, 560)  # a phone's canvas at its own and at twice its density, a scan
BRUSH_PX = (14.0, 24.0)  # on a canvas of 280
SIZE = (0.5, 0.8)  # the digit's longer side as a share of the canvas
MODES = ("RGBA", "RGBA", "L", "RGB")  # browsers send RGBA, other clients whatever they have


@dataclass(frozen=True)
class Drawing:
    """A digit as a PNG for the gateway and as uint8 [28, 28] for the model server."""

    png: bytes
    image: Image28
    label: int


def prepare(count: int = COUNT, seed: int = SEED) -> list[Drawing]:
    """Draw `count` digits, the ten classes in turn; the same ones every time."""
    r = np.random.default_rng(seed)
    return [_draw(number, r) for number in range(count)]


def without(drawings: list[Drawing], dropped: Collection[int]) -> list[Drawing]:
    """All but those that the target reads otherwise."""
    return [drawing for number, drawing in enumerate(drawings) if number not in dropped]


def _draw(number: int, r: np.random.Generator) -> Drawing:
    label = number % 10
    sheet = draw(handwrite(label, r), r.uniform(*BRUSH_PX), r.uniform(*SIZE))
    side = CANVAS_PX[number // 10 % len(CANVAS_PX)]
    if side != sheet.width:
        sheet = sheet.resize((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    sheet.convert(MODES[number // 10 % len(MODES)]).save(out, "PNG")
    return Drawing(out.getvalue(), digit_image(out.getvalue()), label)
