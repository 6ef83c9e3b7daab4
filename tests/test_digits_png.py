"""The short cut around Pillow's zlib must never show."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from digits.png import MAX_RAW, encode, quick_to_inflate


def png(image: Image.Image, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **how)  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (280, 280), (333, 77)])
def test_the_rewrapped_png_holds_the_same_pixels(mode: str, size: tuple[int, int]) -> None:
    channels = len(mode)
    shape = (size[1], size[0]) if channels == 1 else (size[1], size[0], channels)
    original = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    data = png(original)
    quick = quick_to_inflate(data)
    if data.count(b"IDAT") == 1:
        assert quick != data
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(quick))), np.asarray(original))


def test_the_unusual_is_handed_on_as_it_came() -> None:
    palette = png(Image.new("P", (30, 30)))
    large = png(Image.new("L", (2100, 2000)))
    assert MAX_RAW < 2100 * 2000
    for data in (b"", b"GIF89a", palette, large, palette[:40]):
        assert quick_to_inflate(data) is data


def test_pixels_that_are_more_or_fewer_than_promised_are_handed_on() -> None:
    """Pillow then says what is wrong; an inflated surplus never takes memory."""
    good = png(Image.new("L", (100, 100), 7))
    for width in (99, 101):
        changed = good[:16] + width.to_bytes(4, "big") + good[20:]
        assert quick_to_inflate(changed) is changed


def test_a_28_by_28_is_written_as_png() -> None:
    image = np.random.default_rng(1).integers(0, 256, (28, 28)).astype(np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(image)))), image)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (64, 48)])
def test_a_grey_opaque_drawing_is_read_from_one_channel_under_every_filter(kind: int, size: tuple[int, int]) -> None:
    grey = np.random.default_rng(kind).integers(0, 256, (size[1], size[0])).astype(np.uint8)
    rgba = np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    data = filtered_png(rgba, kind)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), rgba)
    quick = Image.open(io.BytesIO(quick_to_inflate(data)))
    assert quick.mode == "L"
    assert np.array_equal(np.asarray(quick), grey)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("spot", [(0, 0, 3), (0, 5, 3), (7, 0, 3), (20, 20, 3), (47, 63, 3), (20, 20, 1), (20, 20, 2)])
def test_a_single_pixel_of_colour_or_transparency_keeps_all_channels(kind: int, spot: tuple[int, int, int]) -> None:
    rgba = np.full((48, 64, 4), 255, np.uint8)
    rgba[spot] = 254
    quick = Image.open(io.BytesIO(quick_to_inflate(filtered_png(rgba, kind))))
    assert quick.mode == "RGBA"
    assert np.array_equal(np.asarray(quick), rgba)


def filtered_png(rgba: np.ndarray, kind: int) -> bytes:
    """An RGBA PNG whose every row uses one filter: 0 none, 1 sub, 2 up, 3 average, 4 Paeth."""
    height, width, _ = rgba.shape
    rows = []
    above = np.zeros((width + 1, 4), np.int32)
    for row in rgba.astype(np.int32):
        padded = np.concatenate([np.zeros((1, 4), np.int32), row])
        left, up, corner = padded[:-1], above[1:], above[:-1]
        guess = left + up - corner
        near = [abs(guess - one) for one in (left, up, corner)]
        paeth = np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], up, corner))
        predicted = (0 * left, left, up, (left + up) // 2, paeth)[kind]
        rows.append(bytes([kind]) + ((row - predicted) % 256).astype(np.uint8).tobytes())
        above = padded
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    framed = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)
