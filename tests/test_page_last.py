"""The last drawings on the page: what was drawn and read stays there, and comes back with a click."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hand import DIGITS, PATIENCE_MS, answer, by_mouse, draw, opened, pixels, place, quickly


@pytest.fixture
def page(chromium: Any, site: str) -> Iterator[Any]:
    page = opened(chromium, site)
    yield page
    page.context.close()


def read(page: Any, digit: int) -> None:
    """Wait until the page reads the digit."""
    page.wait_for_function("d => document.querySelector('#digit').textContent === d", arg=str(digit), timeout=PATIENCE_MS)
    page.wait_for_selector("#answer:not(.busy)", timeout=PATIENCE_MS)


def emptied(page: Any) -> None:
    """Wait until the page knows that nothing is drawn."""
    page.wait_for_function("() => document.querySelector('#sentence').textContent === 'Draw a digit.'", timeout=PATIENCE_MS)


def erase(page: Any, digit: int) -> None:
    """Take a digit away with the broad eraser."""
    page.locator("#eraser").click()
    page.get_by_label("Broad").check(force=True)
    draw(page, digit)


def thumbs(page: Any) -> list[str]:
    """What they were read as, whether surely or not."""
    return [one.inner_text().rstrip("?") for one in page.locator("#last .thumb").all()]


@pytest.mark.parametrize("times", [1, 2])
def test_what_was_undone_is_brought_back_whole(page: Any, times: int) -> None:
    draw(page, 4)
    read(page, 4)
    whole = pixels(page)
    for _ in range(times):
        page.locator("#undo").click()
        page.wait_for_selector("#answer:not(.busy)", timeout=PATIENCE_MS)
    assert pixels(page) != whole
    page.locator("#last .thumb").click()
    read(page, 4)
    assert pixels(page) == whole
    assert thumbs(page) == ["4"]


@pytest.mark.parametrize("emptying", ["undo", "eraser"])
def test_a_drawing_on_an_emptied_sheet_takes_no_others_place(page: Any, emptying: str) -> None:
    draw(page, 7)
    read(page, 7)
    if emptying == "eraser":
        erase(page, 7)
        emptied(page)
        page.get_by_label("Medium").check(force=True)
    else:
        for _ in DIGITS[7]:
            page.locator("#undo").click()
    draw(page, 1)
    read(page, 1)
    assert thumbs(page) == ["1", "7"]
    page.locator("#last .thumb").nth(1).click()
    read(page, 7)


def test_a_stroke_of_the_eraser_on_an_empty_sheet_makes_no_two_drawings_one(page: Any) -> None:
    page.locator("#eraser").click()
    by_mouse(page, place(page, DIGITS[1][0]))
    page.locator("#eraser").click()
    for digit in (7, 1):
        draw(page, digit)
        read(page, digit)
        for _ in DIGITS[digit]:
            page.locator("#undo").click()
    assert thumbs(page) == ["1", "7"]


def test_a_sheet_erased_by_hand_is_empty_at_once_whatever_the_service_does(page: Any) -> None:
    draw(page, 7)
    read(page, 7)
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/api/predict", hold)
    erase(page, 7)
    page.wait_for_selector("#eraser[aria-pressed=false]", timeout=PATIENCE_MS)
    emptied(page)
    assert "gone" not in page.locator("#hint").get_attribute("class")
    page.get_by_label("Medium").check(force=True)
    draw(page, 1)
    page.unroute("**/api/predict")
    for one in held:
        one.fallback()
    read(page, 1)
    assert thumbs(page) == ["1", "7"], "another drawing"
    for _ in (*DIGITS[1], *DIGITS[7]):  # each stroke of the eraser comes back by itself
        page.locator("#undo").click()
        page.wait_for_selector("#answer:not(.busy)", timeout=PATIENCE_MS)
    read(page, 7)


def test_what_is_left_of_an_erased_picture_counts(page: Any) -> None:
    page.locator("#file").set_input_files("tests/golden/dark-7.png")
    answer(page)
    page.locator("#eraser").click()
    with page.expect_request("**/api/predict"):
        by_mouse(page, place(page, DIGITS[7][1]))
    answer(page)
    page.get_by_label("Broad").check(force=True)
    for y in range(5, 280, 15):
        quickly(page, [[(0, y), (280, y)]])
    emptied(page)


def test_examples_push_no_drawing_out_until_they_are_drawn_on(page: Any) -> None:
    draw(page, 7)
    read(page, 7)
    for digit, button in enumerate(page.locator("#examples button").all()):
        button.click()
        read(page, digit)
    assert thumbs(page) == ["7"]
    page.locator("#examples button").nth(1).click()
    by_mouse(page, place(page, DIGITS[1][0]))
    page.wait_for_selector("#last li:nth-child(2)", timeout=PATIENCE_MS)


@pytest.mark.parametrize(("theme", "guise"), [("light", "transparent-white-5.png"), ("dark", "transparent-black-2.png")])
def test_a_pictures_thumbnail_shows_its_own_paper_and_ink(chromium: Any, site: str, theme: str, guise: str) -> None:
    page = opened(chromium, site, theme=theme)
    page.locator("#file").set_input_files(f"tests/golden/{guise}")
    answer(page)
    levels = page.evaluate("""async () => {
      const image = new Image();
      image.src = document.querySelector('#last image').getAttribute('href');
      await image.decode();
      const canvas = new OffscreenCanvas(image.width, image.height), context = canvas.getContext('2d');
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, image.width, image.height);
      const of = (channel) => data.filter((_, at) => at % 4 === channel).reduce(
        ([low, high], one) => [Math.min(low, one), Math.max(high, one)], [255, 0]);
      return [of(0), of(3)];
    }""")
    (darkest, lightest), opacity = levels
    assert darkest < 60
    assert lightest > 195
    assert opacity == [255, 255]
    page.context.close()
