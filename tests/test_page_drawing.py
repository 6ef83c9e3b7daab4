"""Drawing in a real browser: every digit by mouse and finger, undo, keys, pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hand import DIGITS, PATIENCE_MS, SCREENS, answer, by_mouse, by_touch, draw, opened, pixels, place, scribble
from PIL import Image

from digits.contract import CLASSES


@pytest.fixture
def page(chromium: Any, site: str) -> Iterator[Any]:
    page = opened(chromium, site)
    yield page
    page.context.close()


def drawn_and_read(page: Any, digit: int, by: str) -> str:
    page.locator("#clear").click()
    page.wait_for_selector("#answer:not(.busy) #digit:empty", timeout=PATIENCE_MS, state="attached")
    draw(page, digit, by)
    return answer(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("screen", list(SCREENS))
def test_every_digit_drawn_by_hand_is_read_rightly(chromium: Any, site: str, screen: str, theme: str) -> None:
    page = opened(chromium, site, screen, theme)
    # each digit by mouse in one theme and by finger in the other
    by = {digit: ("mouse", "touch")[(digit + (theme == "dark")) % 2] for digit in range(CLASSES)}
    read = {digit: drawn_and_read(page, digit, by[digit]) for digit in by}
    page.context.close()
    assert read == {digit: str(digit) for digit in by}


def test_drawing_by_finger_scrolls_nothing_and_nothing_moves(chromium: Any, site: str) -> None:
    page = opened(chromium, site, "phone")
    places = "() => [scrollY, ...['#canvas', '#predict', '#bars', '#examples', '#last', '#waterfall', '#request pre'].map(s => { const b = document.querySelector(s).getBoundingClientRect(); return [s, b.x, b.y, b.width, b.height]; })]"  # noqa: E501
    before = page.evaluate(places)
    draw(page, 4, "touch")
    answer(page)
    by_touch(page, place(page, DIGITS[1][0] * [1, 0.9]))
    page.wait_for_timeout(300)
    answer(page)
    assert page.evaluate(places) == before
    page.context.close()


def test_fifty_strokes_undone_and_redone_are_the_same_pixels(page: Any) -> None:
    seen = {0: pixels(page)}
    for stroke in range(1, 51):
        scribble(page, 1, seed=stroke)
        if stroke % 7 == 0:
            page.locator("#canvas").press("e")
        if stroke % 10 == 0:
            seen[stroke] = pixels(page)
    assert len(set(seen.values())) == 6
    for at in reversed(range(50)):
        page.keyboard.press("Control+z")
        if at in seen:
            assert pixels(page) == seen[at]
    for at in range(1, 51):
        page.keyboard.press("Control+y" if at % 2 else "Control+Shift+z")
        if at in seen:
            assert pixels(page) == seen[at]


def test_clear_can_be_undone_and_a_new_stroke_ends_redo(page: Any) -> None:
    draw(page, 3)
    full = pixels(page)
    page.locator("#clear").click()
    assert pixels(page) != full
    page.locator("#undo").click()
    assert pixels(page) == full
    assert page.locator("#redo").get_attribute("aria-disabled") == "false"
    scribble(page, 1)
    assert page.locator("#redo").get_attribute("aria-disabled") == "true"


def test_widths_are_three_and_chosen_by_key_or_click(page: Any) -> None:
    shots = set()
    for key in "123":
        page.locator("#canvas").press(key)
        by_mouse(page, place(page, DIGITS[1][0]))
        shots.add(pixels(page))
        page.keyboard.press("Control+z")
        width = page.locator("input[name=width]:checked + span").inner_text()
        assert page.locator("#told").inner_text() == f"{width}."
    assert len(shots) == 3
    assert page.get_by_label("Broad").is_checked()


def test_keyboard_alone_draws_a_digit_asks_and_clears(page: Any) -> None:
    canvas = page.locator("#canvas")
    page.keyboard.press("Tab")
    while not canvas.evaluate("e => e === document.activeElement"):
        page.keyboard.press("Tab")
    for _ in range(9):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    assert page.locator("#told").inner_text() == "Brush down."
    for _ in range(18):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Enter")  # lifts the brush as well
    assert page.locator("#told").inner_text() == "Brush up."
    assert answer(page) == "1"
    page.keyboard.press("Delete")
    page.wait_for_selector("#digit:empty", state="attached")


def test_keys_work_after_a_click_on_a_tool_as_well(page: Any) -> None:
    draw(page, 1)
    assert answer(page) == "1"
    eraser = page.locator("#eraser")
    eraser.click()
    page.keyboard.press("Control+e")
    assert eraser.get_attribute("aria-pressed") == "true"
    page.keyboard.press("e")
    assert eraser.get_attribute("aria-pressed") == "false"
    page.get_by_label("Broad").check(force=True)
    page.keyboard.press("1")
    assert page.get_by_label("Fine").is_checked()
    page.keyboard.press("Delete")
    page.wait_for_selector("#digit:empty", state="attached", timeout=PATIENCE_MS)
    page.locator("#undo").click()
    page.keyboard.press("Backspace")
    page.wait_for_selector("#hint:not(.gone)", timeout=PATIENCE_MS)


def test_the_hint_makes_room_for_the_first_stroke(page: Any) -> None:
    path = place(page, DIGITS[1][0])
    page.mouse.move(*path[0])
    page.mouse.down()
    page.mouse.move(*path[-1])
    assert "gone" in page.locator("#hint").get_attribute("class")
    page.mouse.up()
    page.locator("#undo").click()
    assert "gone" not in page.locator("#hint").get_attribute("class")


def test_a_mouse_takes_over_from_the_keyboards_brush(page: Any) -> None:
    canvas = page.locator("#canvas")
    canvas.press("Space")
    canvas.press("ArrowDown")
    by_mouse(page, place(page, DIGITS[1][0]))
    both = pixels(page)
    page.keyboard.press("Control+z")
    assert pixels(page) != both
    assert page.locator("#undo").get_attribute("aria-disabled") == "false"


def test_a_sheet_of_exactly_its_own_280_pixels_is_painted_whole(chromium: Any, site: str) -> None:
    page = opened(chromium, site, viewport={"width": 304, "height": 740})
    assert page.evaluate("document.querySelector('#canvas').width") == 280
    by_mouse(page, place(page, DIGITS[1][0]))
    pixels(page)
    level = "document.querySelector('#canvas').getContext('2d').getImageData(149, 240, 1, 1).data[0]"
    assert page.evaluate(level) < 60
    page.context.close()


def test_every_control_is_reached_by_tab(page: Any) -> None:
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.name || document.activeElement.className"))
    assert {"canvas", "width", "eraser", "undo", "redo", "clear", "predict", "file", "thumb", "language", "theme"} <= reached


def test_pen_pressure_makes_the_line_thicker(page: Any) -> None:
    ink = []
    for pressure in (0.1, 0.9):
        page.evaluate(
            """pressure => {
              const canvas = document.querySelector('#canvas'), box = canvas.getBoundingClientRect();
              const at = (type, share) => canvas.dispatchEvent(new PointerEvent(type, {pointerId: 7, pointerType: 'pen', pressure,
                buttons: 1, clientX: box.x + box.width * share, clientY: box.y + box.height / 2, bubbles: true}));
              at('pointerdown', 0.2); at('pointermove', 0.5); at('pointermove', 0.8); at('pointerup', 0.8);
            }""",
            pressure,
        )
        pixels(page)
        ink.append(page.evaluate(
            """() => { const c = document.querySelector('#canvas');
              const { data } = c.getContext('2d').getImageData(0, 0, c.width, c.height);
              return data.filter((v, i) => i % 4 === 0 && v < 128).length; }"""
        ))  # fmt: skip
        page.keyboard.press("Control+z")
    assert ink[1] > 1.5 * ink[0]


@pytest.mark.parametrize("guise", ["opaque-7.png", "dark-7.png", "photo-6.png", "pencil-0.jpg", "transparent-white-5.png"])
def test_chosen_picture_is_read(page: Any, guise: str) -> None:
    page.locator("#file").set_input_files(f"tests/golden/{guise}")
    assert answer(page) == re.findall(r"\d", guise)[0]


def test_pasted_and_dropped_pictures_are_read_and_other_files_are_told(page: Any) -> None:
    give = """async ([kind, type, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], 'x', {type}));
      const event = kind === 'paste' ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})
        : new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});
      document.body.dispatchEvent(event);
    }"""
    for kind, digit in (("paste", 4), ("drop", 8)):
        with open(f"tests/golden/opaque-{digit}.png", "rb") as file:
            page.evaluate(give, [kind, "image/png", list(file.read())])
        page.wait_for_function("d => document.querySelector('#digit').textContent === d", arg=str(digit), timeout=PATIENCE_MS)
    page.evaluate(give, ["drop", "text/plain", [65, 66]])
    page.wait_for_function("() => document.querySelector('#sentence').textContent.startsWith('That is not a picture')")


def test_a_sheet_drawn_in_either_theme_at_any_size_is_sent_alike(chromium: Any, site: str) -> None:
    keep = (
        "() => { const ask = fetch; window.fetch = (url, options) => { window.sent = options.body; return ask(url, options); }; }"
    )
    sent = {}
    for screen, theme in (("phone", "dark"), ("desk", "light")):
        page = opened(chromium, site, screen, theme)
        page.evaluate(keep)
        page.locator("#examples button").nth(5).click()
        page.wait_for_function("() => window.sent")
        sent[screen] = bytes(page.evaluate("async () => [...new Uint8Array(await window.sent.arrayBuffer())]"))
        page.context.close()
    assert sent["phone"] == sent["desk"]
    picture = Image.open(io.BytesIO(sent["desk"]))
    assert (picture.format, picture.size, picture.mode) == ("PNG", (280, 280), "RGBA")
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255)
