"""The short cut around Pillow's zlib must never show."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from digits.drawings import draw
from digits.errors import BlankCanvas
from digits.images import MAX_PIXELS, decode, ink_of
from digits.png import MAX_RAW, encode, from_canvas, quickly_read
from digits.strokes import handwrite


def png(image: Image.Image, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **how)  # type: ignore[arg-type]
    return out.getvalue()


def read(data: bytes) -> Image.Image:
    """What the short cut makes of it; it must take it."""
    image = quickly_read(data, MAX_PIXELS)
    assert isinstance(image, Image.Image)
    return image


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (280, 280), (333, 77)])
def test_the_short_cut_sees_the_same_pixels(mode: str, size: tuple[int, int]) -> None:
    channels = len(mode)
    shape = (size[1], size[0]) if channels == 1 else (size[1], size[0], channels)
    original = Image.fromarray(np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8))
    quick = read(png(original))
    assert quick.mode == mode
    assert np.array_equal(np.asarray(quick), np.asarray(original))


def test_pixels_in_many_chunks_are_read_together() -> None:
    good = filtered_png(np.random.default_rng(0).integers(0, 256, (40, 30, 4)).astype(np.uint8), 4)
    at = good.index(b"IDAT")
    (length,) = struct.unpack(">I", good[at - 4 : at])
    pixels = good[at + 4 : at + 4 + length]
    pieces = [chunk(b"IDAT", pixels[start : start + 999]) for start in range(0, length, 999)]
    assert len(pieces) > 3
    split = good[: at - 4] + b"".join(pieces) + good[at + 8 + length :]
    assert np.array_equal(np.asarray(read(split)), np.asarray(read(good)))
    torn = good[: at - 4] + pieces[0] + chunk(b"tIME", bytes(7)) + b"".join(pieces[1:]) + good[at + 8 + length :]
    assert quickly_read(torn, MAX_PIXELS) is None


def test_the_unusual_is_left_to_pillow() -> None:
    palette = png(Image.new("P", (30, 30)))
    large = png(Image.new("L", (2100, 2000)))
    assert MAX_RAW < 2100 * 2000
    good = png(Image.new("L", (100, 60), 7))
    turned = good[:33] + chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0") + good[33:]
    through = good[:33] + chunk(b"tRNS", b"\0\7") + good[33:]
    twice = good[:33] + good[8:]
    damaged = good[:30] + b"????" + good[34:]
    for data in (
        b"",
        b"GIF89a",
        palette,
        large,
        palette[:40],
        turned,
        through,
        twice,
        damaged,
        good[:-12],
        good[:-20],
        good[:60],
    ):
        assert quickly_read(data, MAX_PIXELS) is None
    assert quickly_read(good, 5_999) is None
    upright = decode(turned)
    assert isinstance(upright, Image.Image)
    assert (read(good).size, upright.size) == ((100, 60), (60, 100))


def test_pixels_that_are_more_or_fewer_than_promised_are_left_to_pillow() -> None:
    """Pillow then says what is wrong; an inflated surplus never takes memory."""
    good = png(Image.new("L", (100, 100), 7))
    for width in (99, 101):
        header = b"IHDR" + width.to_bytes(4, "big") + good[20:29]
        changed = good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:]
        assert quickly_read(changed, MAX_PIXELS) is None


def test_a_28_by_28_is_written_as_png() -> None:
    image = np.random.default_rng(1).integers(0, 256, (28, 28)).astype(np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode(image)))), image)


@pytest.mark.parametrize("size", [(1, 1, 4), (5, 9, 4), (280, 280, 4)])
def test_a_canvas_is_written_as_a_png_that_anybody_reads(size: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, size).astype(np.uint8)
    image = Image.open(io.BytesIO(from_canvas(pixels)))
    assert image.mode == "RGBA"
    assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (64, 48)])
def test_a_grey_opaque_drawing_is_read_from_one_channel_under_every_filter(kind: int, size: tuple[int, int]) -> None:
    grey = np.random.default_rng(kind).integers(0, 256, (size[1], size[0])).astype(np.uint8)
    rgba = np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    data = filtered_png(rgba, kind)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), rgba)
    quick = read(data)
    assert quick.mode == "L"
    assert np.array_equal(np.asarray(quick), grey)


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize("spot", [(0, 0, 3), (0, 5, 3), (7, 0, 3), (20, 20, 3), (47, 63, 3), (20, 20, 1), (20, 20, 2)])
def test_a_single_pixel_of_colour_or_transparency_keeps_all_channels(kind: int, spot: tuple[int, int, int]) -> None:
    rgba = np.full((48, 64, 4), 255, np.uint8)
    rgba[spot] = 254
    quick = read(filtered_png(rgba, kind))
    assert quick.mode == "RGBA"
    assert np.array_equal(np.asarray(quick), rgba)


def test_of_a_drawing_on_plain_paper_only_the_ink_is_read_and_nothing_else_changes() -> None:
    """Small pictures of every kind: ink at edges, in corners, and none; colour; transparency; any filter in any row."""
    chance = np.random.default_rng(0)
    cropped = 0
    for _ in range(2000):
        height, width = (int(size) for size in chance.integers(1, 16, 2))
        grey = np.full((height, width), chance.choice([255, 255, 0, 7, 128]), np.uint8)
        for _ in range(chance.integers(0, 4)):
            top, left, tall, wide = (int(at) for at in chance.integers(0, (height, width, 5, 5)))
            grey[top : top + tall, left : left + wide] = chance.choice([0, 255, chance.integers(0, 256)])
        rgba = np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
        if chance.random() < 0.1:
            rgba[chance.integers(height), chance.integers(width), chance.integers(4)] ^= chance.integers(1, 256)
        data = filtered_png(rgba, *chance.integers(0, chance.integers(1, 6), height))
        quick = quickly_read(data, MAX_PIXELS)
        if isinstance(quick, np.ndarray):
            cropped += 1
            assert (rgba[..., 3] == 255).all()
        assert quick is not None
        assert seen(quick) == seen(Image.open(io.BytesIO(data)))
    assert cropped > 100


@pytest.mark.parametrize("kind", range(5))
def test_a_drawing_is_cropped_whatever_the_filter(kind: int) -> None:
    picture = draw(handwrite(8, np.random.default_rng(kind)), 20, 0.8).convert("RGBA")
    quick = quickly_read(filtered_png(np.asarray(picture), kind), MAX_PIXELS)
    assert isinstance(quick, np.ndarray)
    assert quick.size < 0.9 * picture.width * picture.height
    assert seen(quick) == seen(picture)


def seen(picture: Image.Image | np.ndarray) -> tuple[tuple[int, ...], bytes] | str:
    """What is found in a picture."""
    try:
        ink = ink_of(picture)
    except BlankCanvas as blank:
        return str(blank)
    return ink.shape, ink.tobytes()


def filtered_png(rgba: np.ndarray, *kinds: int) -> bytes:
    """An RGBA PNG whose rows use filters in turn: 0 none, 1 sub, 2 up, 3 average, 4 Paeth."""
    height, width, _ = rgba.shape
    rows = []
    above = np.zeros((width + 1, 4), np.int32)
    for number, row in enumerate(rgba.astype(np.int32)):
        kind = kinds[number % len(kinds)]
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
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks)


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG, framed."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
