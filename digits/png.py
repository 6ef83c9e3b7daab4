"""PNG where Pillow is slow: reading a canvas's drawing, and writing 28×28 greys.

Pillow's wheels inflate with the system's zlib; zlib-ng does it many times as fast.  Where red, green
and blue are the same, and nothing shows through, one channel in four is enough, and of a drawing on
plain paper only the box that holds its ink.  Chromium's canvases filter all rows by `up`, which numpy
undoes by itself; other filters are left to Pillow's own decoder, which is handed the rows as stored
(uncompressed) blocks.  Decoding 280×280 RGBA and finding its ink took Pillow 0.42 ms as Chromium
writes it, and takes 0.15; as Pillow writes it, with filters that vary, 0.72 and 0.25.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from zlib_ng import zlib_ng

from digits.contract import IMAGE_PX, Image28

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_RAW: Final = 4_000_000
"""Larger pictures are left to Pillow, which inflates them row by row in bounded memory."""
MAX_CROPPED: Final = 1024
"""Larger pictures may be averaged down, by a factor that depends on their size (digits.images)."""
BLOCK: Final = 65_535
NONE, SUB, UP = 0, 1, 2
_HEAD = SIGNATURE + struct.pack(">I", 13) + b"IHDR"
_MODES = {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}
_WITHOUT_EFFECT = {b"IHDR", b"sRGB", b"gAMA", b"cHRM", b"iCCP", b"sBIT", b"bKGD", b"pHYs", b"tIME"}
"""Chunks that change no pixel: Pillow has no colour management.  With others, transparency and EXIF among them, it is asked."""


def quickly_read(data: bytes, max_pixels: int) -> Image.Image | NDArray[np.uint8] | None:
    """Decode a usual PNG to mode L, LA, RGB or RGBA; None for anything else, and for what Pillow should complain about.

    Usual is what canvases write: 8 bits a sample, not interlaced, no palette, and pixel data of exactly the size that the header
    promises.  Of a grey, opaque drawing on plain paper that reaches no edge, only the box that holds the ink comes back, with a
    line of paper on each side: uint8 [H, W], grey levels.
    """
    if data[:16] != _HEAD or len(data) < 45:
        return None
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", data[16:29])
    mode = _MODES.get(colour, "")
    size = height * (1 + width * len(mode))
    if depth != 8 or compression or filtering or interlace or not mode or not 0 < width * height <= max_pixels or size > MAX_RAW:
        return None
    raw = _inflated(data, size)
    if raw is None:
        return None
    if mode == "RGBA":
        rows = np.frombuffer(raw, np.uint8).reshape(height, 1 + 4 * width)
        if rows[:, 0].max() > 4:  # a filter that there is not
            return None
        pixels = np.ascontiguousarray(rows[:, 1:]).view("<u4")  # alpha above blue above green above red
        drawn = _drawn(rows[:, 0], pixels) if max(width, height) <= MAX_CROPPED else None
        if drawn is not None:
            return drawn
        grey = _one_channel(rows[:, 0], pixels)
        if grey is not None:
            mode, raw = "L", grey
    return _unfiltered(mode, width, height, raw)


def _unfiltered(mode: str, width: int, height: int, raw: bytes) -> Image.Image | None:
    try:
        return Image.frombytes(mode, (width, height), _stored(raw), "zip", mode)
    except ValueError:  # a filter that there is not
        return None


@lru_cache(maxsize=256)
def _paper(level: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]:
    """What opaque paper is once filtered, by filter (none, sub, up, average, Paeth): uint32 [5] for the pixels of the top row
    but its first, for the first one of every other row, and for the others there."""
    whole = level * 0x010101 | 0xFF000000
    rest = (level - level // 2) * 0x010101 | 0x80000000  # what is left of it without half of it
    table = ((whole, 0, whole, rest, 0), (whole, whole, 0, rest, 0), (whole, 0, 0, 0, 0))
    top, first, others = (np.array(row, np.uint32) for row in table)
    return top, first, others


def _drawn(filters: NDArray[np.uint8], pixels: NDArray[np.uint32]) -> NDArray[np.uint8] | None:
    """The ink of a grey, opaque drawing on paper of one level, which reaches no edge, with a line of paper around it.

    filters: uint8 [height]; pixels: uint32 [height, width], still filtered.  None for any other picture.  A pixel whose three
    neighbours (left, above, and between) are paper is paper if and only if its filtered bytes are paper's: so from the top left
    the first that differ begin the box, with nothing unfiltered.  To the right of and below the last that differ ink could still
    run on, as a filter repeats it; that it does not is seen in the next column and row, which the box takes in.
    """
    height, width = pixels.shape
    level = int(pixels[0, 0]) & 0xFF
    top, first, others = _paper(level)
    if pixels[0, 0] != others[0] or (pixels[0, 1:] != top[filters[0]]).any() or (pixels[1:, 0] != first[filters[1:]]).any():
        return None
    plain = bool((filters[1:] != NONE).all())  # then what stays of paper is nothing
    changed = pixels[1:, 1:] if plain else pixels[1:, 1:] ^ others[filters[1:]][:, None]
    columns = np.flatnonzero(np.bitwise_or.reduce(changed, axis=0)) + 1
    rows = np.flatnonzero(np.bitwise_or.reduce(changed, axis=1)) + 1
    if not rows.size or rows[-1] + 1 >= height or columns[-1] + 1 >= width:
        return None
    tall, wide = slice(rows[0], rows[-1] + 2), slice(columns[0], columns[-1] + 2)
    filters, box = filters[tall], pixels[tall, wide]
    grey = box.astype(np.uint8)
    if (box != (grey * _EQUAL if plain else grey * _EQUAL | (others[filters] & _ALPHA)[:, None])).any():
        return None
    if (filters == UP).all():  # as Chromium's canvases are; sums wrap, as differences did
        ink = np.full((len(grey) + 1, grey.shape[1] + 1), level, np.uint8)
        ink[1:, 1:] += np.add.accumulate(grey, axis=0, dtype=np.uint8)
    else:
        made = np.empty((len(grey) + 1, grey.shape[1] + 2), np.uint8)  # a row and a column of paper before it, and the filters
        made[0, 0], made[0, 1:] = NONE, level
        made[1:, 0], made[1:, 1], made[1:, 2:] = filters, first[filters], grey
        ink = _unfiltered_grey(made)
    return ink if (ink[-1] == level).all() and (ink[:, -1] == level).all() else None


def _unfiltered_grey(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo the filters of one channel.

    rows: uint8 [height, 1 + width], filters first, of which the top row has none.  Returns uint8 [height, width].
    """
    filters, grey = rows[:, 0], rows[:, 1:]
    across = np.flatnonzero(filters == SUB)
    if across.size:  # these look at their own row alone
        grey[across] = np.add.accumulate(grey[across].T.copy(), axis=0, dtype=np.uint8).T  # along memory: twice as fast
        filters[across] = NONE
    image = _unfiltered("L", grey.shape[1], len(grey), rows.tobytes())
    assert image is not None
    return np.asarray(image)


# What an opaque channel's bytes are once filtered, by filter (none, sub, up, average, Paeth): the row's first, and the others.
_OPAQUE = np.array([(255, 255), (255, 0), (0, 0), (128, 0), (0, 0)], np.uint32) << 24
_OPAQUE_ON_TOP = np.array([(255, 255), (255, 0), (255, 255), (255, 128), (255, 0)], np.uint32) << 24
_EQUAL, _ALPHA = np.uint32(0x010101), np.uint32(0xFF000000)


def _one_channel(filters: NDArray[np.uint8], pixels: NDArray[np.uint32]) -> bytes | None:
    """An RGBA PNG's rows, still filtered, as those of a grey one; None unless the picture is grey and opaque.

    filters: uint8 [height]; pixels: uint32 [height, width].  Every filter works on each channel by itself, so that
    channels which are equal are equal before unfiltering and after, and the filtered bytes can be taken as they stand.
    """
    red = pixels.astype(np.uint8)
    wanted = red * _EQUAL
    opaque = _OPAQUE[filters]
    opaque[0] = _OPAQUE_ON_TOP[filters[0]]
    wanted[:, 0] |= opaque[:, 0]
    wanted[:, 1:] |= opaque[:, 1:]
    return np.concatenate((filters[:, None], red), axis=1).tobytes() if np.array_equal(wanted, pixels) else None


def _inflated(data: bytes, size: int) -> bytes | None:
    """The filtered rows, if they are `size` bytes and no chunk has a say in what they mean."""
    packed: list[bytes] = []
    at, before = 8, b""
    while (kind := data[at + 4 : at + 8]) != b"IEND":
        (length,) = struct.unpack(">I", data[at : at + 4].rjust(4, b"\xff"))
        end = at + 12 + length
        if end > len(data):
            return None
        if kind == b"IDAT":
            if packed and before != b"IDAT":
                return None
            packed.append(data[at + 8 : end - 4])  # Pillow does not look at its checksum either
        elif (
            kind not in _WITHOUT_EFFECT
            or (kind == b"IHDR" and at > 8)
            or zlib.crc32(data[at + 4 : end - 4]).to_bytes(4, "big") != data[end - 4 : end]
        ):
            return None
        at, before = end, kind
    inflater = zlib_ng.decompressobj()
    try:
        raw = inflater.decompress(packed[0] if len(packed) == 1 else b"".join(packed), size + 1)
    except zlib_ng.error:  # type: ignore[misc]  # its stub declares it as an instance
        return None
    return raw if len(raw) == size and inflater.eof else None


def _stored(raw: bytes) -> bytes:
    """A zlib stream of stored blocks."""
    view = memoryview(raw)
    parts: list[bytes | memoryview] = [b"\x78\x01"]
    for at in range(0, len(raw), BLOCK):
        block = view[at : at + BLOCK]
        last = at + BLOCK >= len(raw)
        parts += (struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block)
    parts.append(struct.pack(">I", zlib_ng.adler32(raw)))
    return b"".join(parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


_HEADER = SIGNATURE + _chunk(b"IHDR", struct.pack(">IIBBBBB", IMAGE_PX, IMAGE_PX, 8, 0, 0, 0, 0))
_END = _chunk(b"IEND", b"")


def encode(image: Image28) -> bytes:
    """uint8 [28, 28] → a grey PNG, without Pillow's detours."""
    rows = np.zeros((IMAGE_PX, 1 + IMAGE_PX), np.uint8)
    rows[:, 1:] = image
    return _HEADER + _chunk(b"IDAT", zlib_ng.compress(rows.tobytes(), 1)) + _END


def from_canvas(pixels: NDArray[np.uint8]) -> bytes:
    """uint8 [H, W, 4], RGBA → the PNG that Chromium's canvas makes of it: every row filtered by `up`, little deflated."""
    height, width, _ = pixels.shape
    rows = np.empty((height, 1 + 4 * width), np.uint8)
    rows[:, 0], rows[:, 1:] = UP, pixels.reshape(height, -1)
    rows[1:, 1:] -= pixels.reshape(height, -1)[:-1]
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return SIGNATURE + header + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 3)) + _END
