"""A picture → its ink, also where people's pictures hold more than ink on paper.

`digits.images.ink_of` stands a second time inside the exported graph, and must stay as it is.  What only the gateway does comes
on top: it looks inside a frame, tells colours of one brightness apart, and takes 10 and 12 bits in 16 for what they are.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from digits.errors import BlankCanvas
from digits.images import Ink, Picture, border_of, ink_of, ink_table, luminance
from webapp.inputs import PNG

THIN: Final = 12
"""A frame is at most one part in this many of the shorter side thick, or crooked."""
ALONG: Final = 0.8
"""It is there along so much of each side at least: corners may be round, and a scan's edge torn."""
SOLID: Final = 128
"""Ink at least this dark is the frame's own, not what a JPEG leaves around it."""
TALL: Final = 1 / 3
"""A digit is at least so large a part of the box that somebody drew for it: less is a dot in a 0."""
FILLED: Final = 0.62
"""A 0's hole, or the two of an 8, fill the box around them so far at least; digits as bold are seldom as far from all sides."""
COLOURFUL: Final = 64
"""One of red, green and blue differs by so many levels at least where brightness does not; a camera's noise does by fewer."""
WHITES: Final = (1023, 4095)
"""What 10 and 12 bits call white.  A picture of 16 bits that is no brighter is black all over, and holds nothing else."""

Grey = NDArray[np.uint8]
"""uint8 [H, W], grey levels."""


def ink_in(picture: Picture, data: bytes) -> Ink:
    """Find the ink and crop to it.  data: the file that the picture was decoded from.

    Returns uint8 [h, w], 0 = paper, 255 = ink, without an empty border.  Raises BlankCanvas if there is none.
    """
    try:
        ink = ink_of(picture)
    except BlankCanvas:
        plainer = None if isinstance(picture, np.ndarray) else _plainer(picture, data)
        if plainer is None:
            raise
        picture, ink = plainer, ink_of(plainer)
    if _is_edged(ink):
        framed = _with_edge(picture, data)
        if framed is not None and _is_dark_around(framed):
            ink = _on_sheet(framed, ink)
        if _is_edged(ink) and _is_edged(box := _solid(ink)):
            ink = _in_box(255 - box, ink)
    return ink


def _is_dark_around(framed: Grey) -> bool:
    """Whether something dark reaches the picture's edge."""
    return bool(2 * np.median(border_of(framed)) <= int(framed.min()) + int(framed.max()))


def _on_sheet(framed: Grey, otherwise: Ink) -> Ink:
    """The ink on a light sheet with something dark around it.  Otherwise, if that may be a bold 0 or 8 cropped close."""
    sheet = _inside(framed)
    ink = _of_sheet(sheet, otherwise)
    if sheet is None or ink is otherwise:
        return otherwise
    is_hole = (_solid(ink) >= SOLID).mean() >= FILLED and _lies_amid(sheet) and _has_round_corners(framed, sheet)
    return otherwise if is_hole else ink


def _lies_amid(sheet: Grey) -> bool:
    """Whether what is dark on a sheet is about as far from all four sides, as a 0's hole is."""
    dark = sheet < (int(sheet.min()) + int(sheet.max())) / 2
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    margins = rows[0], len(dark) - 1 - rows[-1], columns[0], dark.shape[1] - 1 - columns[-1]
    return bool(max(margins) <= 1.5 * min(margins) + 2)


def _has_round_corners(framed: Grey, sheet: Grey) -> bool:
    """Whether a sheet's sides are light some pixels before its corners are."""
    darkest, lightest = int(framed.min()), int(framed.max())
    cut = max((len(framed) - len(sheet)) // 2 - 2, 0)
    around = framed[cut : len(framed) - cut, cut : framed.shape[1] - cut]
    sides = around[0], around[-1], around[:, 0], around[:, -1]
    return all(np.median(side) >= lightest - (lightest - darkest) / 8 for side in sides)


def _in_box(box: Grey, otherwise: Ink) -> Ink:
    """The digit in a box that was drawn on the paper.  Otherwise, if the box may be a 0 in itself: with a slash by the same pen
    in it, a dot, or what an eraser left."""
    sheet = _inside(box)
    ink = _of_sheet(sheet, otherwise)
    if sheet is None or ink is otherwise:
        return otherwise
    line_px = (box.shape[0] - sheet.shape[0]) // 2
    pen_px = np.count_nonzero(ink >= SOLID) / np.hypot(*ink.shape)  # of a straight stroke; more where it bends
    is_tall = max(ink.shape) >= TALL * max(sheet.shape)
    return ink if is_tall and sheet.min() < SOLID and line_px < pen_px else otherwise


def _is_edged(ink: Ink) -> bool:
    """Whether ink runs along all four sides: a frame, or a light sheet with something dark around it."""
    thin = _thin(ink)
    return (
        _holds_ink(ink[:thin, :thin])  # most digits have none in this corner, and are done with in 1 µs
        and _holds_ink(ink[-thin:, -thin:])
        and all(ends.any(axis=0).mean() > ALONG for ends in (ink[:thin], ink[-thin:]))
        and all(ends.any(axis=1).mean() > ALONG for ends in (ink[:, :thin], ink[:, -thin:]))
    )


def _thin(whole: Grey | Ink) -> int:
    """How many pixels a frame may be thick."""
    shorter: int = min(whole.shape)
    return shorter // THIN + 1


def _holds_ink(part: Ink) -> bool:
    return bool(part.tobytes().strip(b"\0"))  # quicker than any() where pixels are few


def _solid(ink: Ink) -> Ink:
    """The box that holds the dark ink, without what is faint around it."""
    rows, columns = (np.flatnonzero((ink >= SOLID).any(axis=axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _with_edge(picture: Picture, data: bytes) -> Grey | None:
    """The picture's grey levels as far as its edge, or nearly."""
    if not isinstance(picture, np.ndarray):
        channel, levels = luminance(picture)
        return np.asarray(channel) if levels is None else levels[np.asarray(channel)]
    size = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")  # of a PNG that has been cropped (digits.png)
    cropped = any(side - kept > 2 * side / THIN for side, kept in zip(size, picture.shape, strict=True))
    return None if cropped else picture


def _inside(framed: Grey | None) -> Grey | None:
    """What something dark encloses, from where paper runs all round."""
    if framed is None:
        return None
    darkest, lightest = int(framed.min()), int(framed.max())
    for cut in range(1, min(_thin(framed), (min(framed.shape) - 1) // 2) + 1):
        inside = framed[cut:-cut, cut:-cut]
        if _is_paper(border_of(inside), darkest, lightest):
            # where there is less paper than ink, this is the middle of a light stroke around a dark hole
            light = np.count_nonzero(inside > (darkest + lightest) / 2)
            return inside if 2 * light > inside.size else None
    return None


def _is_paper(border: Grey, darkest: int, lightest: int) -> bool:
    """Whether a sheet's edge is light and holds no ink.  darkest, lightest: of what encloses it, too."""
    try:
        return bool(2 * np.median(border) > darkest + lightest and not ink_table(border, darkest, lightest)[border].any())
    except BlankCanvas:
        return False


def _of_sheet(sheet: Grey | None, otherwise: Ink) -> Ink:
    """The ink on what was found inside a frame; what there was before, if nothing was, or it is blank."""
    try:
        return otherwise if sheet is None else ink_of(sheet)
    except BlankCanvas:
        return otherwise


def _plainer(picture: Image.Image, data: bytes) -> Image.Image | None:
    """The picture as grey levels (mode L) in which ink may differ from paper; None where there are none."""
    if data[:4] == PNG and data[24:26] == b"\x10\0":  # 16 bits of grey; a large one has been averaged down to 8
        levels = np.asarray(picture, np.float32) * (257 if picture.mode == "L" else 1)
        white = next((white for white in WHITES if levels.max() <= white), None)
        return None if white is None else Image.fromarray((levels * (255 / white)).astype(np.uint8))
    if picture.mode not in ("P", "RGB", "RGBA"):
        return None
    *colours, alpha = picture.convert("RGBA").split()
    differ, colour = max((_range(channel), number) for number, channel in enumerate(colours))
    return colours[colour] if differ >= COLOURFUL and alpha.getextrema()[0] == 255 else None


def _range(channel: Image.Image) -> int:
    """Between the darkest and the lightest place, in levels; a place is a few pixels, so that noise is none."""
    darkest, lightest = channel.reduce(min(4, *channel.size)).getextrema()
    return int(lightest) - int(darkest)  # type: ignore[arg-type]  # tuples only where there are several channels
