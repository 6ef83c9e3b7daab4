"""Image bytes from a browser, a phone or a program → ink: uint8 [H, W], 0 = paper, 255 = ink.

Nothing is assumed about the picture but that the paper shows along its border: dark on light,
light on dark, ink on transparency, palettes, 16-bit grey and EXIF-turned photographs all end in
the same array.  The steps are plain enough to stand a second time inside the exported graph
(`export.drawing_graph`), and a test holds the two together.
"""

from __future__ import annotations

import io
import threading
from contextlib import nullcontext
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError

from digits.errors import BadImage, BlankCanvas, NotAnImage, TooLarge, UnevenLight
from digits.png import quickly_read

FORMATS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS: Final = 16_000_000
"""A 12-megapixel photograph passes; a decompression bomb does not."""
LARGE_PIXELS: Final = 2_000_000
"""Pictures beyond this are decoded one at a time: four of 16 megapixels at once would take a gigabyte."""
STRIP_PIXELS: Final = 1_000_000
WORKING_PX: Final = 1024
"""Larger images are averaged down by a whole factor first: 20 pixels of digit need no more."""
MIN_CONTRAST: Final = 24
"""Grey levels between paper and the darkest ink; below this the sheet counts as blank."""
NOISE_FLOOR: Final = 16
"""One part in this many of the contrast is paper grain or JPEG ringing, not ink."""

BLACK_ON_WHITE: Final = bytes(range(255, -1, -1))
"""Ink by grey level there, but for the paper's grain."""

_one_large = threading.Lock()

Ink = NDArray[np.uint8]
"""uint8 [H, W], 0 = paper, 255 = ink."""
Picture = Image.Image | NDArray[np.uint8]
"""Decoded: what Pillow makes of it, or grey levels [H, W]."""
Encoded = bytes | bytearray | memoryview
"""A file's bytes."""


def decode(data: Encoded, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode the first frame, upright, on its longer side less than twice WORKING_PX.

    A drawing on plain paper may come as its grey levels without most of the paper (digits.png).
    Raises NotAnImage for bytes of no known format, BadImage for broken ones and for what is no bytes, TooLarge beyond
    max_pixels (checked on the header, before any pixel is decoded).
    """
    data = _as_bytes(data)
    quick = quickly_read(data, max_pixels)
    if isinstance(quick, np.ndarray):
        return quick
    if quick is not None:
        return _averaged_down(quick)
    image = _opened(data, max_pixels)
    with _one_large if image.width * image.height > LARGE_PIXELS else nullcontext():
        return _averaged_down(_loaded(image))


def _as_bytes(data: Encoded) -> bytes:
    if isinstance(data, bytes):
        return data
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise BadImage(f"got a {type(data).__name__}; wanted an image file's bytes") from None


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header of whatever it is with Pillow."""
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        wanted = ", ".join(FORMATS)
        raise NotAnImage(f"got {len(data)} bytes that are no image; wanted {wanted}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise TooLarge(f"got an image whose header promises over 89,000,000 pixels; wanted at most {max_pixels:,}") from None
    except Exception as exc:  # decoders raise what they like on hostile headers
        raise BadImage(f"the image's header cannot be read: {type(exc).__name__}") from exc
    width, height = image.size
    if width * height > max_pixels:
        got = f"{width}×{height} = {width * height:,} pixels"
        raise TooLarge(f"got an image of {got}; wanted at most {max_pixels:,}")
    return image


def _loaded(image: Image.Image) -> Image.Image:
    """Decode the pixels and turn them upright."""
    factor = max(image.size) // WORKING_PX
    try:
        if factor > 1:
            image.draft(None, (image.width // factor, image.height // factor))  # JPEG alone can decode small
        image.load()
        if image.format != "GIF" and image.getexif().get(0x0112, 1) != 1:
            image = ImageOps.exif_transpose(image)
    except Exception as exc:  # truncated or corrupt: zlib, struct, OSError, SyntaxError, ...
        raise BadImage(f"the {image.format} image is broken: {type(exc).__name__}") from exc
    return image


def _averaged_down(image: Image.Image) -> Image.Image:
    """Average a large picture down by a whole factor, a strip at a time: whole, its colours would take several times its size."""
    factor = max(image.size) // WORKING_PX
    if factor <= 1:
        return image
    across, down = min(factor, image.width), min(factor, image.height)
    top = _top(image)
    tall = max(STRIP_PIXELS // image.width // down, 1) * down
    strips = []
    for at in range(0, image.height, tall):
        strip = image.crop((0, at, image.width, min(at + tall, image.height)))
        strips.append(_plain(strip, top).reduce((across, down)))
    whole = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    for number, strip in enumerate(strips):
        whole.paste(strip, (0, number * (tall // down)))
    whole.info = strips[0].info
    return whole


def _top(image: Image.Image) -> float:
    """The level of white in a picture of more than eight bits a sample, which may hold no more than eight all the same."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return 65535.0 if _ends(image)[1] > 255 else 255.0
    return 255.0


def _plain(image: Image.Image, top: float) -> Image.Image:
    """Bring any mode to L, LA, RGB or RGBA, keeping transparency.  top: the level of white, where there are more than 256."""
    if image.mode in ("L", "RGB", "RGBA", "LA"):
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        levels = np.asarray(image, np.float32)  # 16-bit greys: Pillow would clip, not scale
        return Image.fromarray((np.clip(levels / top, 0, 1) * 255).astype(np.uint8))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA", "La", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")


def luminance(image: Image.Image) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """One channel of the picture (mode L), and the grey level that each of its values stands for; None: itself.

    Grey levels are as the eye sees them on the paper that fits the ink: transparent pixels show
    white behind dark ink and black behind light ink.
    """
    image = _plain(image, _top(image))
    if image.mode == "RGB" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode not in ("LA", "RGBA"):
        return (image if image.mode == "L" else image.convert("L")), None
    alpha = image.getchannel("A")
    grey = image.getchannel("L") if image.mode == "LA" else image.convert("L")
    if _ends(alpha)[0] == 255:
        return grey, None
    darkest, lightest = _ends(grey)
    if darkest == lightest:  # ink of one colour: the alpha channel tells it all
        return alpha, _over(darkest, 255 if _is_dark(grey, alpha) else 0)
    behind = Image.new("L", image.size, 255 if _is_dark(grey, alpha) else 0)
    return Image.composite(grey, behind, alpha), None


def _is_dark(grey: Image.Image, alpha: Image.Image) -> bool:
    """Whether what is visible is darker than middle grey."""
    darkest, lightest = _ends(grey)
    if darkest == lightest == 0:
        return alpha.getbbox() is not None
    return 2 * _sum(ImageChops.multiply(grey, alpha)) < _sum(alpha)


def _ends(channel: Image.Image) -> tuple[int, int]:
    """The darkest and the lightest level of one channel."""
    darkest, lightest = channel.getextrema()
    assert isinstance(darkest, int | float)
    assert isinstance(lightest, int | float)
    return int(darkest), int(lightest)


@lru_cache(maxsize=64)
def _over(level: int, behind: int) -> NDArray[np.uint8]:
    """Grey level by alpha where `level` lies over `behind`, rounded as Pillow composites."""
    alpha = np.arange(256)
    value = behind * (255 - alpha) + level * alpha + 128
    over: NDArray[np.uint8] = ((value // 256 + value) // 256).astype(np.uint8)
    return over


def _sum(image: Image.Image) -> int:
    """Sum of all grey levels, by the histogram: exact, and quicker than leaving Pillow."""
    return sum(level * count for level, count in enumerate(image.histogram()))


def border_of(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The outermost pixels of [H, W]: both rows, both columns, corners twice."""
    return np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))


def ink_table(border: NDArray[np.uint8], darkest: int, lightest: int) -> NDArray[np.uint8]:
    """Return the 256-entry table from grey level to ink for one picture.

    border: grey levels along the picture's edge; darkest, lightest: of the whole picture.  The paper
    is the median of the border; ink is whatever lies on the side that reaches further from it,
    stretched to 255; what lies within the paper's own grain (a sixteenth of the contrast, or four
    median deviations) is paper.  Raises BlankCanvas, and its kind UnevenLight where all lies within the grain.
    """
    paper, grain = int(border[0]), 0
    if border.min() != border.max():
        levels, middle = border.astype(np.int32), (border.size - 1) // 2
        paper = int(np.partition(levels, middle)[middle])
        grain = int(np.partition(np.abs(levels - paper), middle)[middle])
    return _table(paper, grain, darkest, lightest)


@lru_cache(maxsize=512)
def _table(paper: int, grain: int, darkest: int, lightest: int) -> NDArray[np.uint8]:
    below, above = paper - darkest, lightest - paper
    contrast = max(below, above)
    floor = max(contrast // NOISE_FLOOR, 4 * grain)
    got = f"got {contrast} grey levels between paper and ink"
    if contrast < MIN_CONTRAST:
        raise BlankCanvas(f"the image is blank: {got}; wanted at least {MIN_CONTRAST}")
    if contrast <= floor:
        raise UnevenLight(f"the light is too uneven: {got} on paper that itself varies by {grain}; wanted over four times that")
    level = np.arange(256, dtype=np.int32)
    depth = paper - level if below >= above else level - paper
    depth[depth <= floor] = 0
    ink: NDArray[np.uint8] = np.minimum((depth * 255 + contrast // 2) // contrast, 255).astype(np.uint8)
    ink.setflags(write=False)
    return ink


def ink_of(picture: Picture) -> Ink:
    """Find the ink and crop to it.  Returns uint8 [h, w] without an empty border.

    Raises BlankCanvas if there is none.
    """
    channel, levels = (picture, None) if isinstance(picture, np.ndarray) else luminance(picture)
    pixels = np.asarray(channel)
    border, ends = border_of(pixels), np.array((pixels.min(), pixels.max()))
    if levels is not None:
        border, ends = levels[border], levels[ends]
    table = ink_table(border, int(ends.min()), int(ends.max()))
    if levels is not None:
        table = table[levels]
    values = np.flatnonzero(table)  # those that are ink: from one end of the table up to somewhere
    first, last = int(values[0]), int(values[-1])
    inked = pixels <= last if first == 0 else pixels >= first
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    if not rows.size:
        raise BlankCanvas("the image is blank: every pixel is paper")
    cropped = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if first == 0 and table[: last + 1].tobytes() == BLACK_ON_WHITE[: last + 1]:  # the usual canvas: no need to look up
        turned: Ink = np.subtract(np.uint8(255), cropped)
        turned *= cropped <= last
        return turned
    return np.take(table, cropped)
