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
PIECE_PX = 4
PIECES = 5
"""Pen digits fall into at most 2 pieces of at least PIECE_PX pixels, MNIST's into 4."""


class Oddity(Enum):
    """Kind, and the sentence for it."""

    SCRIBBLE = "That is more ink than a digit has. Clear the canvas and draw a single digit."
    PIECES = "I see many separate pieces. Draw one digit at a time."


def oddity(image: Image28) -> Oddity | None:
    """Tell a scribble, or many pieces, from a digit.  image: uint8 [28, 28]."""
    if np.count_nonzero(image >= INKED) > FULL_PX:
        return Oddity.SCRIBBLE
    ink = image >= TOUCHED
    # Euler's number, pieces less holes, takes microseconds; only a picture with many pieces is looked at closely
    if _euler(ink) >= PIECES - 1 and _pieces(ink) >= PIECES:
        return Oddity.PIECES
    return None


def _euler(ink: NDArray[np.bool_]) -> int:
    """Pieces less holes, where pixels touch at corners too: by counting pixels, edges and faces of the grid they span."""
    across, down = ink[:, 1:] & ink[:, :-1], ink[1:] & ink[:-1]
    slant, other = ink[1:, 1:] & ink[:-1, :-1], ink[1:, :-1] & ink[:-1, 1:]
    # every 2×2 square: 3 or 4 inked pixels close triangles of edges, and 4 also cross two slanted edges
    count = ink.astype(np.int8)
    square = count[1:, 1:] + count[:-1, :-1] + count[1:, :-1] + count[:-1, 1:]
    edges = sum(int(np.count_nonzero(one)) for one in (across, down, slant, other))
    faces = int(np.count_nonzero(square == 3)) + 3 * int(np.count_nonzero(square == 4))
    return int(np.count_nonzero(ink)) - edges + faces


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
