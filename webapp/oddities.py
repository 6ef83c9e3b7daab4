"""What is no single digit, whatever the network makes of it."""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from digits.contract import Image28

INKED = 96
"""A pixel at least this dark counts as ink when the ink is measured."""
FULL_PX = 310
"""More inked pixels than this fill the 20×20 square.  Pen digits under the thickest brush, a third of the canvas high, have at
most 289 and MNIST's 284: nothing legitimate is caught."""
TOUCHED = 64
"""A pixel at least this dark holds a stroke together."""
BLOT_PX = 12
"""A square of ink so wide on a side is a dot.  Filled loops come to 11 in MNIST, thick strokes to 10 in pen digits under the
thickest brush, a third of the canvas high; a tap on the canvas, or a stroke half as long as it is wide, to 12 and more."""
DISC_PX = 330
"""A round dot has fewer inked pixels: a disc in the 20×20 square has up to 324 with hard edges."""
PIECE_PX = 4
PIECES = 5
"""Pen digits fall into at most 2 pieces of at least PIECE_PX pixels, MNIST's into 4."""

FAINT = 32
"""A column without a pixel at least this dark parts what lies on either side of it."""
ABREAST = 2 / 3
"""Two parts that each hold ink in so large a share of the inked rows are two digits.  In pen digits, under brushes of 12, 20 and
28 px at 80 and at 40 % of the canvas, the smaller part comes to a half at most; of MNIST's 70,000 it is over this in 6, all of
which have a line beside the digit that nobody meant."""


class Oddity(Enum):
    """Kind, and the sentence for it."""

    DOT = "That is only a dot. Draw a whole digit."
    SCRIBBLE = "That is more ink than a digit has. Draw a single digit on an empty sheet."
    PIECES = "I see many separate pieces. Draw one digit at a time."
    ABREAST = "I see more than one digit. Draw one at a time."


def oddity(image: Image28) -> Oddity | None:
    """Tell a dot, a scribble, many pieces, or digits side by side, from a digit.  image: uint8 [28, 28]."""
    inked = image >= INKED
    count = np.count_nonzero(inked)
    if count >= BLOT_PX**2 and _holds_a_square(inked) and _euler(inked) == 1:
        return Oddity.SCRIBBLE if count > DISC_PX or _fills_its_box(inked) else Oddity.DOT
    if count > FULL_PX:
        return Oddity.SCRIBBLE
    ink = image >= TOUCHED
    # Euler's number, pieces less holes, takes microseconds; only a picture with many pieces is looked at closely
    if _euler(ink) >= PIECES - 1 and _pieces(ink) >= PIECES:
        return Oddity.PIECES
    return Oddity.ABREAST if _stands_abreast(image) else None


def _stands_abreast(image: Image28) -> bool:
    """Whether an empty column parts the ink into two, each nearly as tall as the whole."""
    ink = image >= FAINT
    columns = ink.any(axis=0).tobytes().strip(b"\0")  # 2 µs in all for what has no gap
    if b"\0" not in columns:
        return False
    ink = ink[ink.any(axis=1)]
    inked = np.flatnonzero(ink.any(axis=0))
    gaps = inked[:-1][np.diff(inked) > 1] + 1
    return any(min(_rows(ink[:, :gap]), _rows(ink[:, gap:])) >= ABREAST * len(ink) for gap in gaps)


def _rows(ink: NDArray[np.bool_]) -> int:
    """How many rows hold ink."""
    return int(np.count_nonzero(ink.any(axis=1)))


def _holds_a_square(ink: NDArray[np.bool_]) -> bool:
    """Whether there is a square of ink, BLOT_PX on a side: what is left of 2, 4, 8 and then 12 in a row, along each axis."""
    for _ in range(2):
        for shift in (1, 2, 4, BLOT_PX - 8):
            ink = ink[shift:] & ink[:-shift]
        ink = ink.T
    return bool(ink.any())


def _fills_its_box(ink: NDArray[np.bool_]) -> bool:
    """Whether corners are inked too, as they are where a canvas is covered and not where a round brush touched it."""
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return bool(np.count_nonzero(ink) > 0.93 * (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1))


# What each 2×2 square adds to four times Euler's number, by which of its pixels are inked (1, 2, 4, 8), where pixels touch at
# corners too: one pixel 1, three -1, two across a corner -2 (Gray 1971, "Local properties of binary images in two dimensions").
_SQUARES = np.array([0, 1, 1, 0, 1, 0, -2, -1, 1, -2, 0, -1, 0, -1, -1, 0], np.int8)


def _euler(ink: NDArray[np.bool_]) -> int:
    """Pieces less holes."""
    edged = np.zeros((ink.shape[0] + 2, ink.shape[1] + 2), np.uint8)
    edged[1:-1, 1:-1] = ink
    across = edged[:, :-1] + 2 * edged[:, 1:]
    return int(_SQUARES[across[:-1] + 4 * across[1:]].sum()) // 4


def _pieces(ink: NDArray[np.bool_]) -> int:
    """Connected pieces of at least PIECE_PX pixels; corners connect."""
    left = {(int(row), int(column)) for row, column in np.argwhere(ink)}
    pieces = 0
    while left:
        size, edge = 0, [left.pop()]
        while edge:
            row, column = edge.pop()
            size += 1
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            edge.extend(near)
        pieces += size >= PIECE_PX
    return pieces
