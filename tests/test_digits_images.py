"""Any picture a browser or a person sends → the same ink."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from digits.errors import BadImage, BlankCanvas, NotAnImage, TooLarge, UnevenLight
from digits.images import WORKING_PX, decode, ink_of
from digits.preprocess import digit_image


def seven(paper: int = 255, ink: int = 0, size: tuple[int, int] = (280, 280)) -> Image.Image:
    """A 7 with square strokes, so that no renderer's rounding comes between two pictures of it."""
    image = Image.new("L", size, paper)
    draw = ImageDraw.Draw(image)
    draw.rectangle((80, 60, 199, 79), fill=ink)
    draw.polygon([(180, 60), (199, 60), (130, 219), (111, 219)], fill=ink)
    return image


def png(image: Image.Image, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", **how)  # type: ignore[arg-type]
    return out.getvalue()


def saved(image: Image.Image, form: str, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **how)  # type: ignore[arg-type]
    return out.getvalue()


PLAIN = digit_image(png(seven()))


def on_transparency(colour: tuple[int, int, int]) -> Image.Image:
    image = Image.new("RGBA", (280, 280), (0, 0, 0, 0))
    image.paste((*colour, 255), mask=Image.eval(seven(), lambda level: 255 - level))
    return image


GUISES: dict[str, Callable[[], bytes]] = {
    "light ink on a dark board": lambda: png(seven(paper=0, ink=255)),
    "RGBA": lambda: png(seven().convert("RGBA")),
    "black ink on transparency": lambda: png(on_transparency((0, 0, 0))),
    "white ink on transparency": lambda: png(on_transparency((255, 255, 255))),
    "palette": lambda: png(seven().convert("P")),
    "one bit a pixel": lambda: png(seven().convert("1")),
    "16 bits a pixel": lambda: png(Image.fromarray(np.asarray(seven()).astype(np.uint16) * 257)),
    "GIF": lambda: saved(seven(), "GIF"),
    "BMP": lambda: saved(seven(), "BMP"),
    "lossless WebP": lambda: saved(seven().convert("RGB"), "WEBP", lossless=True),
    "low contrast": lambda: png(seven(paper=200, ink=100)),
    "interlaced, several chunks": lambda: png(seven().convert("RGB"), optimize=True),
    "another place on a larger sheet": lambda: png(moved()),
}


def moved() -> Image.Image:
    sheet = Image.new("L", (400, 330), 255)
    sheet.paste(seven(), (120, 50))
    return sheet


@pytest.mark.parametrize("guise", GUISES)
def test_every_guise_of_a_drawing_becomes_the_same_digit(guise: str) -> None:
    assert np.array_equal(digit_image(GUISES[guise]()), PLAIN)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
@pytest.mark.parametrize("guise", ["RGBA", "BMP"])
def test_bytes_of_any_kind_are_read(guise: str, kind: Callable[[bytes], bytearray | memoryview]) -> None:
    assert np.array_equal(digit_image(kind(GUISES[guise]())), PLAIN)


@pytest.mark.parametrize("what", ["digit.png", Path("digit.png"), None, 5, io.BytesIO(b"")])
def test_a_path_instead_of_the_bytes_is_told_so(what: object) -> None:
    with pytest.raises(BadImage, match=f"got a {type(what).__name__}; wanted an image file's bytes"):
        digit_image(what)  # type: ignore[arg-type]


def test_exif_orientation_is_obeyed() -> None:
    turned = seven().rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90° clockwise to see it upright"
    data = saved(turned.convert("RGB"), "JPEG", quality=98, exif=exif.tobytes())
    assert np.abs(digit_image(data).astype(int) - PLAIN).mean() < 1.5


def test_an_animation_counts_by_its_first_frame() -> None:
    second = Image.new("L", (280, 280), 255)
    data = saved(seven(), "GIF", save_all=True, append_images=[second, second])
    assert np.array_equal(digit_image(data), PLAIN)


def test_jpeg_noise_around_the_ink_is_paper() -> None:
    data = saved(seven(), "JPEG", quality=60)
    assert np.abs(digit_image(data).astype(int) - PLAIN).mean() < 2


def test_a_large_photograph_is_read_from_a_smaller_copy() -> None:
    data = png(seven().resize((2800, 2800), Image.Resampling.NEAREST))
    assert max(decode(data).size) <= 2048
    assert np.abs(digit_image(data).astype(int) - PLAIN).mean() < 1.5


@pytest.mark.parametrize("paper", [0, 77, 255])
def test_a_blank_sheet_is_blank_whatever_its_colour(paper: int) -> None:
    with pytest.raises(BlankCanvas, match="got 0 grey levels between paper and ink; wanted at least 24"):
        digit_image(png(Image.new("RGB", (280, 280), (paper,) * 3)))


def test_light_too_uneven_to_tell_ink_from_paper_is_said_to_be_that() -> None:
    shade = np.tile(np.linspace(40, 240, 280).astype(np.uint8), (280, 1))
    shade[100:180, 130:140] = 0
    with pytest.raises(UnevenLight, match=r"too uneven: got 139 grey levels .* varies by 99; wanted over four times that"):
        ink_of(Image.fromarray(shade))


def test_an_empty_transparent_canvas_is_blank() -> None:
    with pytest.raises(BlankCanvas):
        digit_image(png(Image.new("RGBA", (280, 280), (0, 0, 0, 0))))


def test_faint_grain_is_not_ink() -> None:
    grain = np.random.default_rng(0).normal(250, 2, (280, 280)).clip(0, 255).astype(np.uint8)
    with pytest.raises(BlankCanvas):
        ink_of(Image.fromarray(grain))


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7", b"\0" * 100])
def test_what_is_no_image_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(NotAnImage, match=f"got {len(data)} bytes that are no image; wanted PNG, JPEG, WEBP, BMP, GIF"):
        decode(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_truncated_image_is_broken_and_never_half_an_answer(form: str) -> None:
    data = saved(seven().convert("RGB"), form)
    with pytest.raises(BadImage):
        digit_image(data[: len(data) * 2 // 3])


def test_a_bomb_is_refused_on_its_header_alone() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    bomb += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(TooLarge, match="wanted at most 16,000,000"):
        decode(bomb)


def test_a_strip_one_pixel_wide_is_read() -> None:
    strip = Image.new("L", (1, 6000), 255)
    strip.paste(0, (0, 100, 1, 5000))
    assert digit_image(png(strip)).any()


@pytest.mark.parametrize("size", [(16_000_000, 1), (1, 5_000_000), (3, 60_000)])
def test_an_endless_strip_is_read_from_a_smaller_copy(size: tuple[int, int]) -> None:
    strip = Image.new("L", size, 255)
    strip.paste(0, (size[0] // 4, size[1] // 4, size[0] // 2 + 1, size[1] // 2 + 1))
    small = decode(png(strip))
    assert max(small.size) < 2 * WORKING_PX, "sixteen megapixels in a row took 6 GiB"
    assert ink_of(small).max() == 255


def test_ten_thousand_flipped_bits_raise_nothing_but_input_errors() -> None:
    r = np.random.default_rng(3)
    originals = [png(seven()), saved(seven(), "JPEG"), saved(seven(), "GIF"), saved(seven(), "BMP"), saved(seven(), "WEBP")]
    for round_ in range(400):
        data = bytearray(originals[round_ % len(originals)])
        for at in r.integers(0, len(data), 25):
            data[at] ^= 1 << int(r.integers(8))
        try:
            image = digit_image(bytes(data))
        except (BadImage, TooLarge, BlankCanvas):
            continue
        assert image.shape == (28, 28)
