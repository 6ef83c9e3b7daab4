"""What the gateway says of itself is true: every example runs, and the description fits the answers."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from digits import drawings, errors
from digits.images import ink_of
from digits.preprocess import digit_image, normalise
from digits.settings import WebSettings
from tests.conftest import ROOT, Server
from tests.gateway import ONE, Gateway, gateway
from tests.hand import DIGITS
from webapp import charts, openapi, problems
from webapp.answers import answer
from webapp.oddities import Oddity, oddity
from webapp.snippets import snippets


@pytest.fixture(scope="module")
def web(digits_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), digits_server.target, web_workers=1) as running:
        yield running


TOOLS = {"curl": "curl", "grpcurl": "grpcurl", "python": "", "javascript": "node"}


@pytest.mark.parametrize("name", TOOLS)
def test_the_example_runs_and_tells_the_digit(web: Gateway, digits_server: Server, tmp_path: Path, name: str) -> None:
    tool = TOOLS[name]
    if tool and not shutil.which(tool):
        pytest.skip(f"needs {tool}")
    code = {
        one.name: one.code for one in snippets(f"http://127.0.0.1:{web.port}", WebSettings(model_target=digits_server.target))
    }[name]
    (tmp_path / "digit.png").write_bytes(ONE)
    command = {"python": [sys.executable, "-c", code], "javascript": ["node", "--input-type=module", "-e", code]}.get(
        name, ["sh", "-c", code]
    )
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    wanted = web.ask(body=ONE).json["digit"]
    if name == "curl":
        assert json.loads(done.stdout)["digit"] == wanted
    elif name == "grpcurl":
        assert json.loads(done.stdout)["outputs"]["digit"]["int64Val"] == [str(wanted)]
    else:
        assert done.stdout.strip() == str(wanted)


def test_the_docs_page_names_every_error_and_the_description(web: Gateway) -> None:
    page = web.ask("/docs")
    assert page.status == 200
    text = page.body.decode()
    assert "/openapi.json" in text
    for problem in problems.everything():
        name = problems.name_of(problem)
        assert f'<tr id="{name}"><td>{problem.status}</td>' in text
        again = re.search(rf'<tr id="{name}">.*<td>(?:(\d+)&nbsp;s)?</td></tr>', text)
        assert again is not None
        assert again[1] == (None if problem.retry_after_s is None else str(problem.retry_after_s))
        led = web.ask(f"/problems/{name}")
        assert (led.status, led.headers["location"]) == (303, f"/docs#{name}")
    assert web.ask("/problems/unheard-of").status == 404


def test_the_gateways_document_says_which_errors_may_be_asked_again() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| (.*) \|$", (ROOT / "docs" / "gateway.md").read_text(), re.MULTILINE)
    said = {int(status) for statuses, when in rows if "Retry-After" in when for status in statuses.split(",")}
    assert said == {one.status for one in problems.everything() if one.retry_after_s is not None}


def test_a_problems_type_leads_to_what_is_said_about_it(web: Gateway) -> None:
    asked = [("/api/predict", "POST", b"nonsense", {}), ("/nowhere", "GET", None, {}), ("/api/predict", "GET", None, {})]
    asked += [("/", "GET", None, {"Host": "a b"}), ("/", "FOO", None, {}), ("/" + "x" * 5000, "GET", None, {})]
    asked += [("/", "GET", None, {"X": "y" * 20_000}), ("/", "POST", b"", {"Transfer-Encoding": "gzip, chunked"})]
    for path, method, body, headers in asked:
        problem = web.ask(path, body, method=method, headers=headers).json
        assert web.ask(problem["type"]).headers["location"] == "/docs#" + problem["type"].rpartition("/")[2]


def test_the_description_has_every_status_that_a_drawing_can_meet(web: Gateway) -> None:
    document = web.ask("/openapi.json").json
    assert document == json.loads(json.dumps(openapi.document(WebSettings())))
    assert document["openapi"] == "3.1.0"
    statuses = set(document["paths"]["/api/predict"]["post"]["responses"])
    assert {str(problems.TABLE[kind].status) for kind in (errors.BlankCanvas, errors.TooLarge, errors.Overloaded)} < statuses


def test_an_answer_has_the_fields_that_the_description_requires(web: Gateway) -> None:
    schemas = web.ask("/openapi.json").json["components"]["schemas"]
    assert set(schemas["Answer"]["required"]) <= set(web.ask(body=ONE).json)
    assert set(schemas["Problem"]["required"]) == set(web.ask(body=b"nonsense").json)
    assert set(schemas["Model"]["required"]) <= set(web.ask("/api/model").json)


# -- honest answers ----------------------------------------------------------------------------------------


def image(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    made = np.zeros((28, 28), np.uint8)
    for top, left, bottom, right in boxes:
        made[top:bottom, left:right] = 255
    return made


def test_below_the_threshold_the_sentence_is_not_sure() -> None:
    probabilities = [0.0] * 10
    probabilities[4], probabilities[9] = 0.7, 0.3
    made = answer(image((4, 12, 24, 16)), probabilities, threshold=0.9)
    assert made["sure"] is False
    assert made["sentence"] == "I am not sure: a 4, perhaps a 9."
    assert made["second"] == {"digit": 9, "confidence": 0.3}
    assert answer(image((4, 12, 24, 16)), probabilities, threshold=0.5)["sentence"] == "This is a 4. It could also be a 9."


def drawn(*points: tuple[float, float], brush: float) -> np.ndarray:
    """A stroke on a sheet of 280 pixels, with soft edges as a browser draws them."""
    sheet = Image.new("L", (1120, 1120), 255)
    pen, wide = ImageDraw.Draw(sheet), brush * 4
    scaled = [(x * 4, y * 4) for x, y in points]
    pen.line(scaled, fill=0, width=round(wide), joint="curve")
    for x, y in scaled:
        pen.ellipse((x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2), fill=0)
    out = io.BytesIO()
    sheet.resize((280, 280), Image.Resampling.BOX).save(out, "PNG")
    return digit_image(out.getvalue())


@pytest.mark.parametrize("brush", [12.0, 20.0, 28.0, 60.0])
def test_a_tap_on_the_canvas_is_a_dot_and_no_digit(brush: float) -> None:
    assert oddity(drawn((140, 140), brush=brush)) is Oddity.DOT
    assert oddity(drawn((140, 140), (140, 140 + brush / 3), brush=brush)) is Oddity.DOT
    assert oddity(drawn((140, 100), (140, 100 + 2 * brush), brush=brush)) is None  # a short 1 under a thick brush
    assert oddity(drawn((100, 100), (200, 100), (120, 220), brush=min(brush, 28.0))) is None


def test_a_scribble_and_many_pieces_get_their_own_sentences() -> None:
    assert oddity(image((4, 4, 24, 24))) is Oddity.SCRIBBLE
    spots = [(row, column, row + 2, column + 3) for row in (4, 14, 20) for column in (4, 12, 20)]
    assert oddity(image(*spots)) is Oddity.PIECES
    made = answer(image(*spots), [1.0] + [0.0] * 9, threshold=0.5)
    assert made["sure"] is False
    assert made["note"] == "pieces"
    assert made["sentence"] == Oddity.PIECES.value


def test_sentences_fit_pictures_as_well_as_drawings() -> None:
    sentences = [one.sentence for one in problems.everything()] + [odd.value for odd in Oddity]
    assert [one for one in sentences if "canvas" in one.lower()] == []


def beside(left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> np.ndarray:
    """Two digits of the same height, two fifths of it apart, as the model sees them."""
    strokes, at = [], 0.0
    for digit in (left, right):
        low, high = np.vstack(digit).min(axis=0), np.vstack(digit).max(axis=0)
        strokes += [(stroke - low) / (high - low)[1] + [at, 0] for stroke in digit]
        at += (high - low)[0] / (high - low)[1] + 0.4
    return normalise(ink_of(drawings.draw(strokes, 20, 0.8)))


def test_two_digits_side_by_side_are_not_answered_as_one() -> None:
    pairs = [(first, second) for first in range(10) for second in range(first, 10)]
    missed = [pair for pair in pairs if oddity(beside(DIGITS[pair[0]], DIGITS[pair[1]])) is not Oddity.ABREAST]
    assert missed == []


def test_no_golden_drawing_is_taken_for_a_scribble_or_for_pieces() -> None:
    files = [file for file in (Path(__file__).parent / "golden").iterdir() if file.suffix != ".json"]
    assert len(files) > 5
    assert [file.name for file in files if oddity(digit_image(file.read_bytes())) is not None] == []


def test_hardly_a_digit_of_mnist_is_taken_for_two(shared: Path) -> None:
    with np.load(shared / "data" / "mnist.npz") as mnist:
        images = mnist["x_test"]
    assert sum(oddity(one) is Oddity.ABREAST for one in images) <= 3


def test_no_pen_drawn_digit_is_taken_for_a_scribble_or_for_pieces(shared: Path) -> None:
    pen = drawings.load(shared / "data" / "pen-digits-dev.npz")
    some = drawings.PenDigits(pen.strokes[::37], pen.labels[::37])
    for brush_px, size in ((12, 0.8), (28, 0.4)):
        caught = [index for index, one in enumerate(drawings.images(some, brush_px, size)) if oddity(one) is not None]
        assert not caught


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (0.02, 0.08, ["0.02", "0.05"]), (0.03, 0.4, ["0.05", "0.1", "0.2"]), (0.002, 2.0, ["0.01", "0.1", "1"]),
])  # fmt: skip
def test_a_chart_has_round_ticks_enough_to_read_it_by(low: float, high: float, ticks: list[str]) -> None:
    history = [{"epoch": n, "loss": loss} for n, loss in enumerate((high, low), start=1)]
    (chart,) = charts.learning(history)
    assert [text for _, text in chart.y_ticks] == ticks
    assert [at for at, _ in chart.y_ticks] == sorted((at for at, _ in chart.y_ticks), reverse=True), "upwards"


def test_the_icon_is_where_programs_look_for_it(web: Gateway) -> None:
    answer = web.ask("/favicon.ico")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    assert answer.body.startswith(b"\x89PNG")
