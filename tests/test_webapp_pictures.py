"""What the gateway makes of pictures that hold more than ink on paper: frames, colours of one brightness, few bits of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from digits import drawings
from digits.errors import BlankCanvas
from digits.images import decode, ink_of
from digits.preprocess import digit_image, normalise
from tests.conftest import ROOT, Server
from tests.gateway import Gateway, encoded, gateway
from webapp.oddities import Oddity, oddity
from webapp.pictures import ink_in

DIGITS = tuple(range(10))


def golden(digit: int, side: int = 280) -> Image.Image:
    """A digit on plain paper, mode L."""
    with Image.open(ROOT / "tests" / "golden" / f"opaque-{digit}.png") as picture:
        return picture.convert("L").resize((side, side))


def seen(data: bytes) -> np.ndarray:
    return normalise(ink_in(decode(data), data))


def read(data: bytes) -> int:
    """The digit that is seen, by the golden one that it is nearest to."""
    return int(np.argmin(np.abs(seen(data) - alone().astype(int)).sum(axis=(1, 2))))


@cache
def alone() -> np.ndarray:
    """The golden digits as the model sees them."""
    return np.stack([digit_image(encoded(golden(digit))) for digit in DIGITS])


def edged(picture: Image.Image, thick: int = 6, level: int = 0) -> Image.Image:
    """With a frame along its edge."""
    ImageDraw.Draw(picture).rectangle((0, 0, picture.width - 1, picture.height - 1), outline=level, width=thick)
    return picture


def boxed(picture: Image.Image, thick: int = 6, radius: int = 0, turned: float = 0) -> Image.Image:
    """In a box on a larger sheet."""
    sheet, (width, height) = Image.new("L", (340, 340), 255), picture.size
    sheet.paste(picture, (30, 30))
    ImageDraw.Draw(sheet).rounded_rectangle((30, 30, 29 + width, 29 + height), radius, outline=0, width=thick)
    return sheet.rotate(turned, Image.Resampling.BICUBIC, fillcolor=255)


FRAMES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "edge": edged,
    "thin edge": lambda one: edged(one, 1),
    "grey edge": lambda one: edged(one, 12, 100),
    "crooked edge": lambda one: edged(one, 8).rotate(1, Image.Resampling.BICUBIC, fillcolor=0),
    "box": boxed,
    "round box": lambda one: boxed(one, 6, radius=20),
    "crooked box": lambda one: boxed(one, 5, turned=1.5),
    "light box on dark": lambda one: Image.fromarray(255 - np.asarray(boxed(one))),
    "box in an edge": lambda one: edged(boxed(one)),
}
FORMATS: dict[str, Callable[[Image.Image], bytes]] = {
    "grey": encoded,
    "as a canvas writes it": drawings.png,
    "JPEG": lambda one: encoded(one.convert("RGB"), "JPEG", quality=75),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("frame", FRAMES)
def test_a_digit_in_a_frame_is_seen_without_it(frame: str, form: str) -> None:
    pictures = [FORMATS[form](FRAMES[frame](golden(digit))) for digit in DIGITS]
    assert [read(one) for one in pictures] == list(DIGITS)
    if form != "JPEG" and "crooked" not in frame:
        assert all(np.array_equal(seen(one), alone()[digit]) for digit, one in enumerate(pictures))


def test_what_is_no_frame_stays() -> None:
    segments = [[1, 1, 1], [1, 0, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1]]
    empty, full = Image.new("L", (280, 280), 255), Image.new("L", (280, 280), 255)
    ImageDraw.Draw(empty).rectangle((60, 40, 220, 240), outline=0, width=10)
    ImageDraw.Draw(full).rectangle((20, 20, 260, 260), fill=0)
    ink = np.kron(np.array(segments, np.uint8), np.full((40, 40), 255, np.uint8))
    eight = Image.fromarray(255 - np.pad(ink, 10))
    for picture in (empty, full, eight):
        data = drawings.png(picture)
        assert np.array_equal(ink_in(decode(data), data), ink_of(picture))
    assert oddity(seen(drawings.png(full))) is Oddity.SCRIBBLE


def boxy_zero(pen: int, inside: Callable[[ImageDraw.ImageDraw], object] = lambda pen: None) -> Image.Image:
    """A 0 of straight lines, 140×200, and what is put in it."""
    picture = Image.new("L", (280, 280), 255)
    hand = ImageDraw.Draw(picture)
    hand.rounded_rectangle((70, 40, 210, 240), 5, outline=0, width=pen)
    inside(hand)
    return picture


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("picture", [
    boxy_zero(12, lambda hand: hand.line((165, 95, 115, 185), fill=0, width=12)),
    boxy_zero(12, lambda hand: hand.ellipse((130, 130, 150, 150), fill=0)),
    boxy_zero(6, lambda hand: hand.rectangle((137, 137, 143, 143), fill=205)),
    boxy_zero(8, lambda hand: hand.line((140, 80, 140, 200), fill=180, width=3)),
    boxy_zero(28).crop((46, 16, 234, 264)), boxy_zero(14).crop((64, 34, 217, 247)),
    boxy_zero(4).resize((28, 28)).crop((6, 3, 22, 25)),
], ids=["slashed", "dotted", "with a speck", "with what an eraser left", "filling", "filling, thinner", "tiny"])  # fmt: skip
def test_a_0_of_straight_lines_is_no_frame(picture: Image.Image, dark: bool, form: str) -> None:
    data = FORMATS[form](Image.fromarray(255 - np.asarray(picture)) if dark else picture)
    assert np.array_equal(ink_in(decode(data), data), ink_of(decode(data)))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("radius", [10, 22, 44])
@pytest.mark.parametrize("bars", [0, 1], ids=["0", "8"])
@pytest.mark.parametrize("margin", [1, 4])
def test_a_bold_light_digit_cropped_close_is_no_sheet(form: str, radius: int, bars: int, margin: int) -> None:
    picture = Image.new("L", (98, 208), 0)
    hand = ImageDraw.Draw(picture)
    hand.rounded_rectangle((4, 4, 93, 203), radius, fill=255)
    for top, bottom in [((34, 173),), ((34, 88), (118, 173))][bars]:
        hand.rectangle((34, top, 63, bottom), fill=0)
    data = FORMATS[form](picture.crop((4 - margin, 4 - margin, 94 + margin, 204 + margin)))
    assert np.array_equal(ink_in(decode(data), data), ink_of(decode(data)))


def test_no_digit_is_taken_for_a_frame(shared: Path) -> None:
    pen = drawings.load(shared / "data" / "pen-digits-dev.npz")
    for brush_px, size in ((12, 0.9), (28, 0.4)):
        for strokes in pen.strokes[::50]:
            picture = drawings.draw(strokes, brush_px, size)
            assert np.array_equal(ink_in(picture, b""), ink_of(picture))
    with np.load(shared / "data" / "mnist.npz") as mnist:
        images = mnist["x_test"]
    head = bytes(16) + (28).to_bytes(4, "big") * 2
    assert all(np.array_equal(ink_in(image, head), ink_of(image)) for image in images)


def coloured(digit: int, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> Image.Image:
    share = np.asarray(golden(digit), np.float32)[..., None] / 255
    return Image.fromarray((share * np.array(paper) + (1 - share) * np.array(ink)).round().astype(np.uint8))


@pytest.mark.parametrize("form", [{"form": "PNG"}, {"form": "JPEG", "quality": 90}, {"form": "WEBP", "quality": 90}])
@pytest.mark.parametrize(("ink", "paper"), [
    ((255, 0, 0), (0, 130, 0)), ((0, 130, 0), (255, 0, 0)), ((0, 0, 255), (80, 0, 0)), ((255, 253, 160), (255, 255, 255)),
])  # fmt: skip
def test_ink_as_bright_as_its_paper_is_told_by_its_colour(
    ink: tuple[int, int, int], paper: tuple[int, int, int], form: dict[str, str]
) -> None:
    with pytest.raises(BlankCanvas):
        ink_of(decode(encoded(coloured(3, ink, paper), **form)))
    assert [read(encoded(coloured(digit, ink, paper), **form)) for digit in DIGITS] == list(DIGITS)
    palette = coloured(3, ink, paper).convert("P", palette=Image.Palette.ADAPTIVE)
    assert read(encoded(palette)) == 3


def test_plain_paper_is_blank_whatever_its_tint() -> None:
    r = np.random.default_rng(0)
    noise = [r.normal((230, 220, 190), 6, (280, 280, 3)), r.normal((205, 200, 185), (4, 3, 8), (1000, 1000, 3))]
    noisy = [Image.fromarray(levels.clip(0, 255).astype(np.uint8)) for levels in noise]
    for picture in (*noisy, Image.new("RGB", (280, 280), (240, 230, 90))):
        with pytest.raises(BlankCanvas):
            seen(encoded(picture))
    with pytest.raises(BlankCanvas):
        seen(encoded(Image.new("RGBA", (280, 280), (255, 0, 0, 0))))


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("side", [280, 2100])
def test_few_bits_in_sixteen_are_no_black_picture(bits: int, side: int) -> None:
    levels = np.asarray(golden(5, side), np.uint32) * (2**bits - 1) // 255
    assert read(encoded(Image.fromarray(levels.astype(np.uint16)))) == 5


@pytest.fixture(scope="module")
def web(digits_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), digits_server.target, web_workers=1) as running:
        yield running


def test_such_pictures_are_read_right_by_both_ways_through_the_gateway(web: Gateway) -> None:
    for digit in DIGITS:
        bodies = [drawings.png(edged(golden(digit))), encoded(boxed(golden(digit)), "JPEG"),
                  encoded(coloured(digit, (255, 0, 0), (0, 130, 0)))]  # fmt: skip
        answers = [web.ask(body=body).json for body in bodies]
        assert [(one["digit"], one.get("note")) for one in answers] == [(digit, None)] * len(bodies)
