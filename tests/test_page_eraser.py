"""The eraser in a real browser: what it takes, what it leaves, and who has the brush afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hand import DIGITS, answer, by_mouse, opened, pixels, place
from PIL import Image, ImageDraw


@pytest.fixture
def page(chromium: Any, site: str) -> Iterator[Any]:
    page = opened(chromium, site)
    yield page
    page.context.close()


def test_eraser_brings_back_plain_paper(page: Any) -> None:
    by_mouse(page, place(page, DIGITS[1][0]))
    assert darkest(page) < 60
    page.locator("#eraser").click()
    page.get_by_label("Broad").check(force=True)
    assert page.locator("#eraser").get_attribute("aria-pressed") == "true"
    by_mouse(page, place(page, DIGITS[1][0]))
    assert darkest(page) > 245  # the line's soft edge may differ by a level


def test_an_eraser_on_an_empty_sheet_is_told(page: Any) -> None:
    page.locator("#eraser").click()
    by_mouse(page, place(page, DIGITS[1][0]))
    assert page.locator("#sentence").inner_text() == "There is nothing to erase yet."
    page.locator("#eraser").click()
    by_mouse(page, place(page, DIGITS[1][0]))
    assert answer(page) == "1"


def test_a_pens_eraser_on_an_empty_sheet_is_told(page: Any) -> None:
    page.evaluate(
        """() => {
          const sheet = document.querySelector('#canvas');
          for (const [kind, buttons] of [['pointerdown', 32], ['pointerup', 0]])
            sheet.dispatchEvent(new PointerEvent(kind, {pointerId: 1, pointerType: 'pen', button: 5, buttons, bubbles: true}));
        }"""
    )
    assert page.locator("#sentence").inner_text() == "There is nothing to erase yet."
    by_mouse(page, place(page, DIGITS[1][0]))
    assert darkest(page) < 60, "the brush is still in the hand"


@pytest.mark.parametrize("emptied", ["clear", "undo", "Delete", "clear an empty sheet"])
def test_an_empty_sheet_gives_the_brush_back(page: Any, emptied: str) -> None:
    page.locator("#eraser").click()
    if emptied != "clear an empty sheet":
        by_mouse(page, place(page, DIGITS[1][0]))
        assert darkest(page) > 245
    if emptied == "Delete":
        page.locator("#canvas").press("Delete")
        assert page.locator("#told").inner_text() == "Cleared. Brush."
    else:
        page.locator("#undo" if emptied == "undo" else "#clear").click()
    assert page.locator("#eraser").get_attribute("aria-pressed") == "false"
    by_mouse(page, place(page, DIGITS[1][0]))
    assert darkest(page) < 60


def test_an_eraser_along_a_strokes_own_path_leaves_nothing(page: Any) -> None:
    sheet = page.locator("#canvas")
    for stroke in (("Space", *["ArrowDown"] * 8, "Space"), ("e", "Space", *["ArrowUp"] * 8, "Space")):
        for key in stroke:
            sheet.press(key)
    assert page.locator("#told").inner_text() == "Nothing is left. Brush."
    assert page.locator("#sentence").inner_text() == "Draw a digit."
    assert page.locator("#eraser").get_attribute("aria-pressed") == "false"


def test_a_key_right_after_nothing_is_left_draws(page: Any) -> None:
    """Only a hand may still be rubbing."""
    sheet = page.locator("#canvas")
    down = ["ArrowDown"] * 8
    for key in ("Space", *down, "Space", "e", "Space", *["ArrowUp"] * 8, "Space", "Space", *down, "Space"):
        sheet.press(key)
    assert answer(page) == "1"


@pytest.mark.parametrize("paper", [(250, 240, 200), (235, 232, 225), (255, 255, 255)])
def test_a_picture_on_tinted_paper_that_is_erased_leaves_an_empty_sheet(page: Any, paper: tuple[int, int, int]) -> None:
    picture = Image.new("RGB", (280, 280), paper)
    ImageDraw.Draw(picture).line((140, 60, 140, 220), (30, 30, 60), 14)
    file = BytesIO()
    picture.save(file, "PNG")
    page.locator("#file").set_input_files({"name": "one.png", "mimeType": "image/png", "buffer": file.getvalue()})
    assert answer(page) == "1"
    page.locator("#eraser").click()
    page.get_by_label("Broad").check(force=True)
    by_mouse(page, place(page, np.array([(0.5, 0.1), (0.5, 0.9)])))
    page.wait_for_function("document.querySelector('#sentence').innerText === 'Draw a digit.'", timeout=10_000)
    assert page.locator("#eraser").get_attribute("aria-pressed") == "false"


def test_who_rubs_on_when_nothing_is_left_draws_nothing(page: Any) -> None:
    by_mouse(page, place(page, DIGITS[1][0]))
    page.locator("#eraser").click()
    page.get_by_label("Broad").check(force=True)
    page.evaluate(
        """(points) => { // within one frame, as quick as no hand is
          const sheet = document.querySelector('#canvas');
          const tell = (kind, {x, y}) => sheet.dispatchEvent(
            new PointerEvent(kind, {pointerId: 1, button: 0, buttons: 1, clientX: x, clientY: y, bubbles: true}));
          for (let sweep = 0; sweep < 3; sweep++) {
            tell('pointerdown', points[0]);
            for (const point of points) tell('pointermove', point);
            tell('pointerup', points.at(-1));
          }
        }""",
        [{"x": x, "y": y} for x, y in place(page, DIGITS[1][0])],
    )
    assert darkest(page) > 245
    assert page.locator("#sentence").inner_text() == "Draw a digit."
    assert page.locator("#undo").get_attribute("aria-disabled") == "false"
    page.wait_for_timeout(500)
    by_mouse(page, place(page, DIGITS[1][0]))
    assert answer(page) == "1", "who has looked draws"


def test_who_draws_on_however_quickly_is_heard(page: Any) -> None:
    by_mouse(page, place(page, DIGITS[1][0]))
    page.locator("#eraser").click()
    page.get_by_label("Broad").check(force=True)
    by_mouse(page, place(page, DIGITS[1][0]))
    for _ in range(30):  # each within 0.4 s of the one before
        page.mouse.down()
        page.mouse.move(*place(page, DIGITS[1][0])[0])
        page.mouse.up()
        page.wait_for_timeout(50)
    assert darkest(page) < 100


def darkest(page: Any) -> int:
    """The darkest level on the screen's sheet."""
    pixels(page)
    return int(page.evaluate(
        """() => { const c = document.querySelector('#canvas');
          return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => Math.min(a, b)); }"""
    ))  # fmt: skip
