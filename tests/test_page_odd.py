"""The page where something is out of the ordinary: odd replies, large pictures, other keyboards, chosen colours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from hand import PATIENCE_MS, answer, draw, opened
from PIL import Image


@pytest.fixture
def page(chromium: Any, site: str) -> Iterator[Any]:
    page = opened(chromium, site)
    yield page
    page.context.close()


def replying(page: Any, asked: list[Any], **reply: Any) -> None:
    """Let the gateway's place be taken by one reply, and note who asks."""

    def fulfill(route: Any) -> None:
        asked.append(route.request)
        route.fulfill(**reply)

    page.route("**/api/predict", fulfill)


@pytest.mark.parametrize(
    ("reply", "times", "sentence"),
    [
        ({"status": 413, "body": "<html>Too large</html>", "content_type": "text/html"}, 1, "did not take this drawing (413)"),
        ({"status": 403, "body": "{}", "content_type": "application/json"}, 1, "did not take this drawing (403)"),
        ({"status": 500, "body": ""}, 3, "fails on this drawing"),
    ],
)
def test_what_asking_again_cannot_cure_is_said(page: Any, reply: dict[str, Any], times: int, sentence: str) -> None:
    asked: list[Any] = []
    replying(page, asked, **reply)
    draw(page, 1)
    page.wait_for_function(
        "words => document.querySelector('#answer').textContent.includes(words)", arg=sentence, timeout=PATIENCE_MS
    )
    page.wait_for_timeout(1000)
    assert len(asked) == times


@pytest.mark.parametrize("seconds", ["2592000", "-5", "30"])
def test_retry_after_is_kept_within_reason(page: Any, seconds: str) -> None:
    asked: list[Any] = []
    replying(page, asked, status=429, headers={"Retry-After": seconds}, body="")
    draw(page, 1)
    page.wait_for_selector("#answer[data-mood=away]", timeout=PATIENCE_MS)
    page.wait_for_timeout(1500)
    assert len(asked) == 1 or (seconds == "-5" and len(asked) <= 4)


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def seven(side: int) -> Image.Image:
    with Image.open("tests/golden/opaque-7.png") as golden:
        return golden.convert("L").resize((side, side))


@pytest.mark.parametrize("side", [280, 5000])
def test_a_picture_is_read_however_large(page: Any, side: int) -> None:
    """The gateway takes 16 million pixels; of a larger picture the page sends what it keeps."""
    with page.expect_request("**/api/predict") as sent:
        page.locator("#file").set_input_files({"name": "7.png", "mimeType": "image/png", "buffer": png(seven(side))})
    assert answer(page) == "7"
    assert sent.value.headers["content-type"] == ("image/png" if side == 280 else "image/jpeg")


def test_of_two_pictures_the_later_counts(page: Any) -> None:
    page.evaluate("""() => {
      const decode = window.createImageBitmap;
      let first = true;
      window.createImageBitmap = async (...given) => {
        const slow = first;
        first = false;
        if (slow) await new Promise(done => setTimeout(done, 1000));
        return decode(...given);
      };
    }""")
    for digit in (4, 8):
        page.locator("#file").set_input_files(f"tests/golden/opaque-{digit}.png")
    assert answer(page) == "8"
    page.wait_for_timeout(1300)
    assert page.locator("#digit").inner_text() == "8"


def test_keys_are_those_of_the_keyboard_whatever_its_letters(page: Any) -> None:
    page.locator("#canvas").focus()
    page.keyboard.press("Shift+E")
    assert page.locator("#told").inner_text() == "Eraser."
    page.evaluate("""() => document.querySelector('#canvas').dispatchEvent(
      new KeyboardEvent('keydown', {key: 'у', code: 'KeyE', bubbles: true, cancelable: true}))""")
    assert page.locator("#told").inner_text() == "Brush."
    page.keyboard.press("3")
    assert page.locator("#told").inner_text() == "Broad."
    draw(page, 1)
    assert answer(page) == "1"
    page.evaluate("""() => document.dispatchEvent(
      new KeyboardEvent('keydown', {key: 'я', code: 'KeyZ', ctrlKey: true, bubbles: true, cancelable: true}))""")
    page.wait_for_selector("#digit:empty", state="attached", timeout=PATIENCE_MS)


def test_bars_and_choices_are_seen_in_the_systems_own_colours(page: Any) -> None:
    page.emulate_media(forced_colors="active")
    draw(page, 1)
    answer(page)
    bar = "getComputedStyle(document.querySelector('.bars .track'), '::before')"
    track = "getComputedStyle(document.querySelector('.bars .track'))"
    assert page.evaluate(f"{bar}.backgroundColor !== {track}.backgroundColor")
    assert page.evaluate("getComputedStyle(document.querySelector('.width:has(:checked)')).outlineStyle") == "solid"
