"""The page while answers take their time, and what a hand does meanwhile."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from hand import DIGITS, PATIENCE_MS, answer, by_mouse, draw, opened, place
from PIL import Image

MOST_PICTURES = 16


@pytest.fixture
def page(chromium: Any, site: str) -> Iterator[Any]:
    page = opened(chromium, site)
    yield page
    page.context.close()


def says(page: Any, sentence: str) -> None:
    """Wait until the page says so."""
    page.wait_for_function(
        "words => document.querySelector('#sentence').textContent === words", arg=sentence, timeout=PATIENCE_MS
    )


def example(page: Any, digit: int) -> None:
    page.locator("#examples button").nth(digit).click()


def evidence(page: Any) -> tuple[str, bool]:
    """The first bar's share, and whether what the model saw is shown."""
    return page.locator("#bars .share").first.inner_text(), page.locator("#seen").is_visible()


def never(route: Any) -> None:
    """Leave a question without an answer."""


def holding(page: Any) -> None:
    page.route("**/api/predict", never)


@pytest.mark.parametrize("status", [None, 503])
def test_no_other_drawings_answer_stands_beside_a_new_one(page: Any, status: int | None) -> None:
    example(page, 4)
    assert answer(page) == "4"
    if status is None:
        holding(page)
    else:
        page.route("**/api/predict", lambda route: route.fulfill(status=status, body=""))
    example(page, 7)
    says(page, "Reading…" if status is None else "The reader is away for a moment.")
    assert page.locator("#digit").inner_text() == ""
    assert evidence(page) == ("", False)


def test_a_drawings_answer_stays_while_it_grows(page: Any) -> None:
    draw(page, 1)
    assert answer(page) == "1"
    holding(page)
    by_mouse(page, place(page, DIGITS[7][1]))
    page.wait_for_timeout(600)
    assert page.locator("#digit").inner_text() == "1"
    assert evidence(page)[1]


def test_an_answer_that_is_asked_for_by_hand_is_said_again(page: Any) -> None:
    draw(page, 0)
    assert answer(page) == "0"
    page.evaluate("""() => {
      window.said = [];
      new MutationObserver(() => said.push(document.querySelector('#sentence').textContent))
        .observe(document.querySelector('#sentence'), {childList: true});
    }""")
    page.locator("#predict").click()
    page.wait_for_function("() => said.length === 2", timeout=PATIENCE_MS)
    assert page.evaluate("said") == ["", "This is a 0."]


HANGING_FETCH = """() => {
  const ask = window.fetch;
  window.asked = 0;
  window.fetch = (address, options) => ++asked > 1 ? ask(address, options)
    : new Promise((_, fail) => options.signal.addEventListener('abort', () => fail(options.signal.reason)));
}"""


def test_a_question_about_another_drawing_is_broken_off(page: Any) -> None:
    page.evaluate(HANGING_FETCH)
    example(page, 4)
    page.wait_for_function("() => asked === 1", timeout=PATIENCE_MS)
    example(page, 7)
    page.wait_for_function(
        "() => document.querySelector('#digit').textContent === '7'", timeout=5000
    )  # the page's patience is 8 s
    assert page.evaluate("asked") == 2


def test_the_service_says_itself_what_is_too_fast(page: Any) -> None:
    sentence = "That is too fast. Please wait a moment."
    page.route(
        "**/api/predict", lambda route: route.fulfill(status=429, headers={"Retry-After": "1"}, json={"sentence": sentence})
    )
    draw(page, 1)
    says(page, "That is too fast.")
    page.unroute("**/api/predict")
    assert answer(page) == "1"


def file(name: str, kind: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": data}


def test_a_file_that_is_no_picture_takes_no_answer_away(page: Any) -> None:
    draw(page, 0)
    assert answer(page) == "0"
    page.locator("#file").set_input_files(file("0.svg", "image/svg+xml", b"<svg/>"))
    says(page, "That is not a picture this page can show.")
    assert evidence(page)[1]
    says(page, "This is a 0.")
    assert answer(page) == "0"


def test_what_a_fresh_page_says_comes_back_after_a_file_that_is_no_picture(page: Any) -> None:
    page.locator("#file").set_input_files(file("0.svg", "image/svg+xml", b"<svg/>"))
    says(page, "That is not a picture this page can show.")
    says(page, "Draw a digit.")


SLOW_PICTURES = """() => {
  const decode = window.createImageBitmap;
  const hold = new Promise(done => window.release = done);
  window.createImageBitmap = async (...given) => (await hold, decode(...given));
}"""


@pytest.mark.parametrize("button", ["Clear", "Undo"])
def test_a_picture_that_is_being_opened_can_still_be_declined(page: Any, button: str) -> None:
    if button == "Undo":
        draw(page, 1)
        answer(page)
    page.evaluate(SLOW_PICTURES)
    page.locator("#file").set_input_files("tests/golden/opaque-8.png")
    says(page, "Opening the picture…")
    page.get_by_role("button", name=button).click()
    page.evaluate("release()")
    page.wait_for_timeout(500)
    assert page.locator("#digit").inner_text() != "8"
    assert page.locator("#hint").get_attribute("class") == "hint" if button == "Clear" else True


def test_a_picture_lifts_the_brush_that_keys_have_put_down(page: Any) -> None:
    sheet = page.locator("#canvas")
    sheet.press("Space")
    page.locator("#file").set_input_files("tests/golden/opaque-8.png")
    page.wait_for_function("() => document.querySelector('#told').textContent === 'Brush up.'", timeout=PATIENCE_MS)
    assert answer(page) == "8"
    sheet.press("Space")
    assert page.locator("#told").inner_text() == "Brush down."


def test_undo_takes_back_the_stroke_that_is_being_drawn(page: Any) -> None:
    draw(page, 0)
    assert answer(page) == "0"
    sheet = page.locator("#canvas")
    for key in ("Space", *["ArrowDown"] * 3, "Control+z"):
        sheet.press(key)
    assert page.locator("#told").inner_text() == "Brush up."
    sheet.press("ArrowDown")
    page.wait_for_selector("#answer:not(.busy)", timeout=PATIENCE_MS)
    assert page.locator("#last .thumb path").count() == 1
    path = place(page, DIGITS[1][0])
    page.mouse.move(*path[0])
    page.mouse.down()
    page.mouse.move(*path[-1])
    page.keyboard.press("Control+z")
    page.mouse.move(*path[0])
    page.mouse.up()
    page.wait_for_timeout(300)
    assert answer(page) == "0"
    assert page.locator("#last .thumb path").count() == 1


def test_a_pen_draws_though_a_palm_rests_on_the_sheet(page: Any) -> None:
    page.evaluate(
        """(points) => {
          const sheet = document.querySelector('#canvas');
          const box = sheet.getBoundingClientRect();
          const tell = (kind, pointerId, pointerType, {x, y}) => sheet.dispatchEvent(new PointerEvent(
            kind, {pointerId, pointerType, button: 0, buttons: 1, clientX: x, clientY: y, pressure: 0.5, bubbles: true}));
          const corner = {x: box.right - 8, y: box.bottom - 8};
          tell('pointerdown', 8, 'touch', corner);
          tell('pointerdown', 9, 'pen', points[0]);
          for (const point of points) tell('pointermove', 9, 'pen', point);
          tell('pointerup', 9, 'pen', points.at(-1));
          tell('pointerup', 8, 'touch', corner);
        }""",
        [{"x": x, "y": y} for x, y in place(page, DIGITS[0][0])],
    )
    assert answer(page) == "0"
    assert page.locator("#last .thumb path").count() == 1, "the palm has drawn nothing"


def test_only_the_last_pictures_are_kept_for_undo(page: Any) -> None:
    for number in range(MOST_PICTURES + 4):
        data = io.BytesIO()
        Image.new("L", (280, 280), 200 + number).save(data, "PNG")
        with page.expect_response("**/api/predict"):
            page.locator("#file").set_input_files(file("grey.png", "image/png", data.getvalue()))
    undone = 0
    while page.locator("#undo").get_attribute("aria-disabled") == "false":
        page.locator("#undo").click()
        undone += 1
    assert undone == MOST_PICTURES - 1  # the oldest is what is left


@pytest.mark.parametrize(("key", "code"), [("&", "Digit1"), ("۱", "Digit1"), ("1", "Numpad1")])
def test_widths_are_chosen_by_digits_whatever_the_keyboard(page: Any, key: str, code: str) -> None:
    page.locator("#canvas").focus()
    page.evaluate(
        """([key, code]) => document.querySelector('#canvas').dispatchEvent(
             new KeyboardEvent('keydown', {key, code, bubbles: true, cancelable: true}))""",
        [key, code],
    )
    assert page.locator("#told").inner_text() == "Fine."


@pytest.mark.parametrize("milliseconds", [999.9, 1000.0, 12345.6])
def test_long_times_stay_in_their_rows(page: Any, milliseconds: float) -> None:
    probabilities = [1.0] + [0.0] * 9
    page.route("**/api/predict", lambda route: route.fulfill(json={
        "digit": 0, "confidence": 1.0, "sure": True, "sentence": "This is a 0.", "probabilities": probabilities,
        "image": "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=", "model": {"name": "digits", "version": 1},
        "timing_ms": {"predict": milliseconds, "total": milliseconds},
    }))  # fmt: skip
    example(page, 0)
    assert answer(page) == "0"
    rows = "() => [...document.querySelectorAll('#waterfall li')].map(row => row.getBoundingClientRect().height)"
    assert len(set(page.evaluate(rows))) == 1
