"""What the page does with answers: in order, when the service is away, as thumbnails, as code to copy."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from hand import DIGITS, PATIENCE_MS, answer, by_mouse, draw, opened, place, quickly, scribble

from digits import drawings
from digits.wire import PREDICT

PEN_DIGITS = 24
ONE_PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
UNSURE = {
    "digit": 4, "confidence": 0.41, "sure": False, "sentence": "I am not sure: a 4, perhaps a 9.", "image": ONE_PIXEL,
    "probabilities": [0.0] * 4 + [0.41] + [0.0] * 4 + [0.39], "model": {"name": "digits", "version": 1},
    "timing_ms": {"total": 1},
}  # fmt: skip


@pytest.fixture
def page(chromium: Any, site: str) -> Iterator[Any]:
    page = opened(chromium, site, permissions=["clipboard-read", "clipboard-write"])
    yield page
    page.context.close()


SLOW_FETCH = """() => {
  const ask = window.fetch;
  const hold = new Promise(done => window.release = done);
  window.seen = {inFlight: 0, most: 0, asked: 0, shown: []};
  window.fetch = async (...given) => {
    const first = ++seen.asked === 1;
    seen.most = Math.max(seen.most, ++seen.inFlight);
    const response = await ask(...given);
    await (first ? hold : new Promise(done => setTimeout(done, 100)));
    const body = await response.json();
    seen.inFlight--;
    return new Response(JSON.stringify(first ? {...body, digit: 7, sentence: 'the stale one'} : body));
  };
  new MutationObserver(() => seen.shown.push(document.querySelector('#sentence').textContent))
    .observe(document.querySelector('#sentence'), {childList: true, characterData: true, subtree: true});
}"""


def test_one_question_at_a_time_and_a_stale_answer_is_dropped(page: Any) -> None:
    page.evaluate(SLOW_FETCH)
    draw(page, 4)  # two strokes: the second falls into the first's question, as does what follows
    scribble(page, 3)
    for _ in range(3):
        page.locator("#undo").click()
    page.evaluate("release()")
    assert answer(page) == "4"
    seen = page.evaluate("seen")
    assert seen["most"] == 1
    assert 2 <= seen["asked"] <= 5
    assert "the stale one" not in seen["shown"]


def test_lost_connection_in_the_middle_of_a_stroke_loses_nothing(page: Any) -> None:
    first, second = DIGITS[4]
    by_mouse(page, place(page, first))
    path = place(page, second)
    page.mouse.move(*path[0])
    page.mouse.down()
    page.context.set_offline(True)
    for x, y in path[1:]:
        page.mouse.move(x, y)
    page.mouse.up()
    page.wait_for_selector("#answer[data-mood=away]", timeout=PATIENCE_MS)
    assert "Keep this page open" in page.locator("#answer").inner_text()
    assert page.locator("#offline").is_visible()
    page.context.set_offline(False)
    assert answer(page) == "4"
    assert not page.locator("#offline").is_visible()


@pytest.mark.parametrize("status", [503, 504, 429, 502])
def test_page_asks_again_by_itself_when_the_service_is_back(page: Any, status: int) -> None:
    problem = json.dumps({"status": status, "title": "Away", "sentence": "Away."})
    page.route(
        "**/api/predict", lambda route: route.fulfill(status=status, content_type="application/problem+json", body=problem)
    )
    draw(page, 1)
    page.wait_for_selector("#answer[data-mood=away]", timeout=PATIENCE_MS)
    page.unroute("**/api/predict")
    assert answer(page) == "1"


def test_predict_on_an_empty_sheet_says_what_to_do(page: Any) -> None:
    page.locator("#predict").click()
    assert page.locator("#sentence").inner_text() == "There is nothing to read yet."
    assert page.locator("#sure").inner_text() == "Draw a digit first."


def test_a_sheet_cleared_while_the_service_was_asked_is_just_clear(page: Any) -> None:
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/api/predict", hold)
    draw(page, 1)
    page.wait_for_selector("#answer.busy")
    page.locator("#clear").click()
    held[0].fulfill(status=503, body="")
    page.wait_for_selector("#answer:not(.busy)")
    assert page.locator("#sentence").inner_text() == "Draw a digit."


def test_a_date_to_retry_after_makes_no_flood(page: Any) -> None:
    asked: list[Any] = []

    def away(route: Any) -> None:
        asked.append(route)
        route.fulfill(status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, body="")

    page.route("**/api/predict", away)
    draw(page, 1)
    page.wait_for_selector("#answer[data-mood=away]", timeout=PATIENCE_MS)
    page.wait_for_timeout(700)
    assert len(asked) <= 3


TOO_MUCH = "That is more ink than a digit has. Draw a single digit on an empty sheet."
NO_PICTURE = "That is not a picture this service can read. Send PNG, JPEG, WebP, BMP or GIF."


def replying(page: Any, **reply: Any) -> None:
    """Let the gateway's place be taken by one reply."""
    page.route("**/api/predict", lambda route: route.fulfill(**reply))


@pytest.mark.parametrize("width", [320, 360, 768, 1024, 1440])
def test_nothing_moves_whatever_the_answer(chromium: Any, site: str, width: int) -> None:
    page = opened(chromium, site, viewport={"width": width, "height": 800})
    places = """() => ['#bars', '#examples', '#last', '#waterfall'].map(
      s => Math.round(document.querySelector(s).getBoundingClientRect().y + scrollY))"""
    before = page.evaluate(places)
    odd = {**UNSURE, "note": "scribble", "sentence": TOO_MUCH}
    for reply, sentence in (
        ({"json": UNSURE}, "I am not sure: a 4, perhaps a 9."),
        ({"json": odd}, "That is more ink than a digit has."),
        ({"status": 415, "json": {"sentence": NO_PICTURE}}, "That is not a picture this service can read."),
        ({"status": 503, "body": ""}, "The reader is away for a moment."),
    ):
        replying(page, **reply)
        scribble(page, 1)
        page.wait_for_function("s => document.querySelector('#sentence').textContent === s", arg=sentence, timeout=PATIENCE_MS)
        assert page.evaluate(places) == before, sentence
        page.unroute("**/api/predict")
    answer(page)
    for button in page.locator("#examples button").all()[:6]:
        button.click()
        page.wait_for_selector("#answer:not(.busy)")
    assert page.evaluate(places) == before
    page.context.close()


def test_bars_say_their_shares_and_the_answer_is_announced(page: Any) -> None:
    draw(page, 0)
    assert answer(page) == "0"
    assert page.locator("#bars li").all_inner_texts()[0].split()[0] == "0"
    assert all("%" in text for text in page.locator("#bars .share").all_inner_texts())
    live = page.locator("#answer")
    assert (live.get_attribute("aria-live"), live.get_attribute("role")) == ("polite", "status")
    assert "This is a 0." in live.inner_text()
    assert page.locator("#seen").evaluate("image => image.complete && image.naturalWidth") == 28


def test_an_unsure_answer_says_so_and_what_to_do(page: Any) -> None:
    replying(page, json=UNSURE)
    scribble(page, 1)
    page.wait_for_selector("#answer[data-mood=unsure]")
    assert "Not sure: 41.0" in page.locator("#sure").inner_text()
    assert page.locator("#advice").inner_text() == "Draw it once more, a little plainer."
    thumb = page.locator("#last .thumb")
    assert thumb.inner_text() == f"{UNSURE['digit']}?"
    assert thumb.get_attribute("aria-label") == f"Bring back the drawing read as {UNSURE['digit']}, not sure"


@pytest.mark.parametrize("note", ["dot", "scribble", "pieces", "abreast"])
def test_what_is_no_single_digit_is_shown_as_none(page: Any, note: str) -> None:
    replying(page, json={**UNSURE, "note": note, "sentence": TOO_MUCH})
    scribble(page, 1)
    page.wait_for_selector("#answer[data-mood=unsure]")
    assert page.locator("#digit").inner_text() == ""
    assert "%" not in page.locator(".reading").inner_text()
    assert page.locator("#sure").inner_text() == "Draw a single digit on an empty sheet."
    assert page.locator("#seen").is_visible()
    thumb = page.locator("#last .thumb")
    assert thumb.inner_text() == ""
    assert thumb.get_attribute("aria-label") == "Bring back the drawing that is no single digit"
    page.unroute("**/api/predict")
    page.locator("#undo").click()
    draw(page, 1)
    assert answer(page) == "1"
    assert page.locator("#last .thumb").first.inner_text().rstrip("?") == "1"


def test_a_first_answer_that_takes_a_while_is_announced(page: Any) -> None:
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/api/predict", hold)
    draw(page, 1)
    assert page.locator("#sentence").inner_text() == "Draw a digit.", "most answers are quicker"
    page.wait_for_function("() => document.querySelector('#sentence').textContent === 'Reading…'")
    page.locator("#clear").click()
    assert page.locator("#sentence").inner_text() == "Draw a digit."
    page.wait_for_timeout(500)
    assert page.locator("#sentence").inner_text() == "Draw a digit."
    draw(page, 1)
    page.wait_for_function("() => document.querySelector('#sentence').textContent === 'Reading…'")
    page.unroute("**/api/predict")
    held[0].fallback()
    assert answer(page) == "1"


def test_last_drawings_are_brought_back_stroke_for_stroke(page: Any) -> None:
    for digit in (4, 1):
        page.locator("#clear").click()
        draw(page, digit)
        page.wait_for_function("d => document.querySelector('#digit').textContent === d", arg=str(digit), timeout=PATIENCE_MS)
        page.wait_for_selector("#answer:not(.busy)")
    thumbs = page.locator("#last .thumb")
    assert [one.inner_text().rstrip("?") for one in thumbs.all()] == ["1", "4"]
    thumbs.nth(1).click()
    page.wait_for_function("() => document.querySelector('#digit').textContent === '4'", timeout=PATIENCE_MS)
    assert thumbs.count() == 2
    page.locator("#undo").click()
    page.wait_for_function("() => document.querySelector('#digit').textContent === '1'", timeout=PATIENCE_MS)


def test_every_example_is_read_as_what_it_is_called(page: Any) -> None:
    for digit, button in enumerate(page.locator("#examples button").all()):
        assert button.get_attribute("aria-label") == f"Try an example of {digit}"
        button.click()
        page.wait_for_function("d => document.querySelector('#digit').textContent === d", arg=str(digit), timeout=PATIENCE_MS)
        assert page.locator("#answer").get_attribute("data-mood") == "sure"


def copied(page: Any, language: str) -> str:
    page.locator(f'input[value="{language}"]').check(force=True)
    page.locator("#copy").click()
    page.wait_for_function("() => document.querySelector('#copied').textContent === 'Copied.'")
    page.evaluate("() => { document.querySelector('#copied').textContent = ''; }")
    return str(page.evaluate("navigator.clipboard.readText()"))


def test_copied_requests_run_as_they_stand(page: Any, site: str) -> None:
    draw(page, 4)
    assert answer(page) == "4"
    assert "…" in page.locator("#code").inner_text()
    curl = subprocess.run(["bash", "-c", copied(page, "curl")], capture_output=True, check=True, timeout=20)
    assert json.loads(curl.stdout)["digit"] == 4
    python = subprocess.run(
        [sys.executable, "-c", copied(page, "python")], capture_output=True, text=True, check=True, timeout=20
    )
    assert python.stdout.startswith("This is a 4.")
    grpcurl = copied(page, "grpcurl")
    assert f"{site}/serving.protoset" in grpcurl
    assert PREDICT.strip("/") in grpcurl
    with urllib.request.urlopen(f"{site}/serving.protoset") as response:
        files = descriptor_pb2.FileDescriptorSet.FromString(response.read())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:  # imports first, as grpcurl wants them
        pool.Add(file)
    method = pool.FindServiceByName("tensorflow.serving.PredictionService").FindMethodByName("Predict")
    request, reply = (message_factory.GetMessageClass(kind) for kind in (method.input_type, method.output_type))
    said = re.search(r"-d '(.*)' (\S+) tensorflow", grpcurl, re.DOTALL)
    assert said is not None
    asked, target = json_format.Parse(said[1], request()), said[2]
    with grpc.insecure_channel(target) as channel:  # the one that the gateway asks
        call = channel.unary_unary(PREDICT, request.SerializeToString, reply.FromString)
        assert call(asked, timeout=20).outputs["digit"].int64_val[0] == 4


def test_a_browser_that_forbids_copying_shows_the_request_in_full_and_marks_it(page: Any) -> None:
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('forbidden')); }")
    draw(page, 1)
    answer(page)
    page.locator("#copy").click()
    page.wait_for_function("() => getSelection().toString().startsWith('curl')")
    assert "…" not in page.evaluate("getSelection().toString()")


def test_waterfall_shows_every_stage_and_the_version(page: Any) -> None:
    draw(page, 2)
    answer(page)
    stages = [row.split("\n")[0] for row in page.locator("#waterfall li").all_inner_texts()]
    assert stages == ["Encode", "Network", "Queue", "Decode", "Preprocess", "Model (RPC)"]
    assert all(row.endswith("ms") for row in page.locator("#waterfall .time").all_inner_texts())
    assert page.locator("#version").inner_text() == "digits, version 1"


def test_pen_digits_drawn_on_the_page_are_read_as_by_the_api(page: Any, site: str, shared: Any) -> None:
    pen = drawings.load(shared / "data" / "pen-digits-dev.npz")
    chosen = np.random.default_rng(6).choice(len(pen.labels), PEN_DIGITS, replace=False)
    same = right = 0
    for at in chosen:
        strokes = placed(pen.strokes[at])
        quickly(page, strokes)
        on_page = answer(page)
        same += on_page == posted(site, strokes)
        right += on_page == str(pen.labels[at])
        page.locator("#clear").click()
        page.wait_for_selector("#answer:not(.busy) #digit:empty", state="attached")
    assert same >= PEN_DIGITS - 1
    assert right >= PEN_DIGITS - 1


def placed(strokes: list[Any]) -> list[Any]:
    """A pen digit in the middle of the sheet, 80 % of it."""
    points = np.concatenate(strokes)
    low, high = points.min(axis=0), points.max(axis=0)
    scale = 0.8 * 280 / max(float((high - low).max()), 1e-6)
    return [(stroke - (low + high) / 2) * scale + 140 for stroke in strokes]


def posted(site: str, strokes: list[Any]) -> str:
    """The API's answer to the same strokes drawn by Pillow."""
    picture = io.BytesIO()
    drawings.draw(strokes, 20, 0.8).convert("RGBA").save(picture, "PNG")
    body = json.dumps({"image": "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()}).encode()
    request = urllib.request.Request(f"{site}/api/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as response:
        return str(json.load(response)["digit"])


def test_scribbling_leaks_no_memory(page: Any) -> None:
    session = page.context.new_cdp_session(page)

    def used() -> float:
        session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"])

    def spell(seed: int) -> None:
        scribble(page, 20, seed)
        page.locator("#clear").click()

    for seed in range(6):  # fills the steps that can be undone and the last drawings
        spell(seed)
    before = used()
    for seed in range(6, 14):
        spell(seed)
    page.wait_for_timeout(500)
    assert used() < 1.2 * before
