"""The API from outside: a real gateway before the real model server."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import MODELS, ROOT, Server, StartServer
from tests.gateway import ONE, SEVEN, Answer, Gateway, drawing, encoded, gateway


@pytest.fixture(scope="module")
def web(digits_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with gateway(folder, digits_server.target, max_body_bytes=1_000_000, cors_origins="https://friend.example") as running:
        yield running


def problem(answer: Answer, status: int, title: str) -> None:
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["title"] == title
    assert answer.json["status"] == status
    assert answer.json["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.body.decode()


def test_a_drawing_is_answered_with_everything_the_page_needs(web: Gateway) -> None:
    answer = web.ask(body=ONE, content_type="image/png")
    assert answer.status == 200
    got = answer.json
    assert got["digit"] == int(np.argmax(got["probabilities"]))
    assert sum(got["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert got["confidence"] == pytest.approx(max(got["probabilities"]), abs=1e-3)
    assert got["model"] == {"name": "digits", "version": 1}
    assert {"queue", "decode", "preprocess", "predict", "total"} == set(got["timing_ms"])
    assert got["sentence"].endswith(".")
    seen = Image.open(io.BytesIO(base64.b64decode(got["image"].partition(",")[2])))
    assert seen.size == (28, 28)
    assert answer.headers["x-request-id"] == got["request_id"]


FORMS = ["PNG", "JPEG", "WEBP", "BMP", "GIF"]


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_same_digit_whatever_the_header_says(web: Gateway, form: str) -> None:
    body = encoded(drawing(mode="RGB"), form)
    wanted = web.ask(body=ONE, content_type="image/png").json["digit"]
    for claimed in ("image/png", "application/octet-stream", "text/plain", ""):
        assert web.ask(body=body, content_type=claimed).json["digit"] == wanted


def test_every_way_of_sending_gives_the_same_answer(web: Gateway) -> None:
    wanted = web.ask(body=ONE, content_type="image/png").json["probabilities"]
    bare = base64.b64encode(ONE).decode()
    form = (
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="d.png"\r\nContent-Type: image/png\r\n\r\n'
        + ONE
        + b"\r\n--x--\r\n"
    )
    for body, kind in (
        (json.dumps({"image": "data:image/png;base64," + bare}).encode(), "application/json"),
        (json.dumps({"image": bare}).encode(), "text/plain"),
        (form, "multipart/form-data; boundary=x"),
    ):
        answer = web.ask(body=body, content_type=kind)
        assert answer.status == 200, answer.body
        assert answer.json["probabilities"] == wanted


def test_several_images_are_answered_in_order_each_with_its_own_result_or_error(web: Gateway) -> None:
    blank = encoded(Image.new("RGB", (50, 50), "white"))
    items = [base64.b64encode(one).decode() for one in (ONE, blank, SEVEN, b"nonsense", ONE[:200])]
    answer = web.ask(body=json.dumps({"images": [*items, 7]}).encode(), content_type="application/json")
    assert answer.status == 200
    results = answer.json["results"]
    assert [one.get("error", {}).get("status", 200) for one in results] == [200, 422, 200, 415, 400, 415]
    assert results[0]["probabilities"] == web.ask(body=ONE).json["probabilities"]
    assert results[2]["probabilities"] == web.ask(body=SEVEN).json["probabilities"]


def test_raw_tensors_and_npy_files_are_answered_like_the_drawing_they_come_from(web: Gateway) -> None:
    seen = web.ask(body=ONE).json
    tensor = np.asarray(Image.open(io.BytesIO(base64.b64decode(seen["image"].partition(",")[2]))))
    raw = web.ask(body=tensor.tobytes() * 3, content_type="application/octet-stream").json["results"]
    npy = io.BytesIO()
    np.save(npy, np.stack([tensor] * 3))
    saved = web.ask(body=npy.getvalue()).json["results"]
    for results in (raw, saved):
        assert [one["digit"] for one in results] == [seen["digit"]] * 3
        assert results[0]["probabilities"] == pytest.approx(seen["probabilities"], abs=1e-4)


def test_a_blank_tensor_is_no_digit(web: Gateway) -> None:
    tensor = np.zeros((3, 28, 28), np.uint8)
    tensor[1, 4:24, 13:15] = 255
    results = web.ask(body=tensor.tobytes(), content_type="application/octet-stream").json["results"]
    assert [one.get("error", {}).get("title") for one in results] == ["Nothing drawn", None, "Nothing drawn"]
    assert results[1]["digit"] == 1
    (alone,) = web.ask(body=bytes(784), content_type="application/octet-stream").json["results"]
    assert alone["error"]["status"] == 422


def test_a_tensor_of_noughts_and_ones_is_told_what_it_should_be(web: Gateway) -> None:
    tensor = np.zeros((2, 28, 28), np.uint8)
    tensor[:, 4:24, 13:15] = 1
    tensor[1] *= 255
    results = web.ask(body=tensor.tobytes(), content_type="application/octet-stream").json["results"]
    assert results[0]["error"]["detail"] == "got grey levels up to 1; wanted 0 for paper to 255 for ink"
    assert results[1]["digit"] == 1


def test_what_the_bytes_are_counts_whatever_is_around_them(web: Gateway) -> None:
    lines = base64.encodebytes(SEVEN).decode()
    assert "\n" in lines.strip()
    upper = "data:image/png;BASE64," + base64.b64encode(SEVEN).decode()
    for body, kind in (
        (json.dumps({"image": lines}).encode(), "application/json"),
        (json.dumps({"image": upper}).encode(), "application/json"),
        (b"\n  " + json.dumps({"image": upper}).encode(), "text/plain"),
        (SEVEN, "multipart/form-data"),
        (json.dumps({"image": upper}).encode(), "application/octet-stream"),
        (json.dumps({"image": upper.rstrip("=")}).encode(), "application/json"),
        (json.dumps({"image": "DATA" + upper[4:]}).encode(), "application/json"),
    ):
        answer = web.ask(body=body, content_type=kind)
        assert (answer.status, answer.json.get("digit")) == (200, 7), answer.body
    assert "got null; wanted a data URL" in web.ask(body=b'{"image": null}').json["detail"]


def test_top_version_and_label_are_obeyed(web: Gateway) -> None:
    top = web.ask("/api/predict?top=3&version=1", ONE).json["top"]
    assert len(top) == 3
    assert [one["confidence"] for one in top] == sorted((one["confidence"] for one in top), reverse=True)
    problem(web.ask("/api/predict?version=99", ONE), 404, "No such model")
    problem(web.ask("/api/predict?label=nobody", ONE), 404, "No such model")
    problem(web.ask("/api/predict?top=11", ONE), 400, "Unreadable request")
    problem(web.ask("/api/predict?version=1&label=a", ONE), 400, "Unreadable request")
    problem(web.ask("/api/predict?top=1&top=2", ONE), 400, "Unreadable request")


def test_a_compressed_body_is_refused_and_never_taken_for_pixels(web: Gateway) -> None:
    for body, kind in ((gzip.compress(ONE), "image/png"), (bytes(784), "application/octet-stream"), (ONE, "image/png")):
        answer = web.ask(body=body, content_type=kind, headers={"Content-Encoding": "gzip"})
        problem(answer, 415, "Encoded body")
        assert answer.headers["accept-encoding"] == "identity"
    assert web.ask(body=ONE, headers={"Content-Encoding": "identity"}).status == 200


def test_a_failure_says_nothing_of_where_the_model_server_is(web: Gateway, digits_server: Server) -> None:
    detail = web.ask("/api/predict?label=nobody", ONE).json["detail"]
    assert detail == "the model server answered INVALID_ARGUMENT: Unrecognized servable version label: nobody"
    assert digits_server.target not in detail
    assert web.ask(body=b"hello", content_type="image/png").headers.get("accept-encoding") is None


def test_more_tensors_than_the_server_takes_at_once_are_answered_in_order(serve: StartServer, tmp_path: Path) -> None:
    batching = ROOT / "serving" / "batching.config"
    base = ("--model_name=digits", f"--model_base_path={MODELS}")
    server = serve(*base, "--enable_batching", f"--batching_parameters_file={batching}")
    with gateway(tmp_path, server.target) as web:
        seen = [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(web.ask(body=body).json["image"][22:])))) for body in (ONE, SEVEN)
        ]
        many = np.stack([seen[number % 3 == 0] for number in range(1024)])
        answer = web.ask(body=many.tobytes(), content_type="application/octet-stream")
        assert [one["digit"] for one in answer.json["results"]] == [7 if number % 3 == 0 else 1 for number in range(1024)]


def test_a_form_whose_order_cannot_be_known_is_refused(web: Gateway) -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="image"'
    text = part + b"\r\n\r\n" + base64.b64encode(ONE) + b"\r\n"
    file = part + b'; filename="d.png"\r\n\r\n' + SEVEN + b"\r\n"
    kind = "multipart/form-data; boundary=x"
    assert [one["digit"] for one in web.ask(body=file + file + b"--x--\r\n", content_type=kind).json["results"]] == [7, 7]
    problem(web.ask(body=text + file + b"--x--\r\n", content_type=kind), 400, "Unreadable request")
    other = file.replace(b'"image"', b'"images"')
    problem(web.ask(body=other + file + b"--x--\r\n", content_type=kind), 400, "Unreadable request")
    both = {"image": base64.b64encode(ONE).decode(), "images": [base64.b64encode(SEVEN).decode()]}
    problem(web.ask(body=json.dumps(both).encode()), 400, "Unreadable request")


BROKEN = {
    "nothing": (b"", 415, "Not an image"),
    "words": (b"hello", 415, "Not an image"),
    "html": (b"<html><body>hello</body></html>", 415, "Not an image"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "Not an image"),
    "tiff": (encoded(drawing(mode="RGB"), "TIFF"), 415, "Not an image"),
    "half a png": (ONE[: len(ONE) // 2], 400, "Broken image"),
    "blank": (encoded(Image.new("RGBA", (280, 280))), 422, "Nothing drawn"),
    "uneven light": (encoded(Image.linear_gradient("L")), 422, "Uneven light"),
    "a bomb": (encoded(Image.new("1", (60_000, 2_000))), 413, "Too large"),
    "a large body": (b"\x89PNG" + bytes(1_000_001), 413, "Too large"),
    "broken json": (b'{"image": ', 400, "Unreadable request"),
    "deep json": (b"[" * 100_000, 400, "Unreadable request"),
    "json of too many": (json.dumps([""] * 65).encode(), 413, "Too many images"),
    "json of something else": (b'{"picture": 1}', 400, "Unreadable request"),
    "an address": (b'{"image": "https://example.org/1.png"}', 415, "Not an image"),
}


@pytest.mark.parametrize("body", [b"[]", b'{"images": []}'])
def test_a_list_of_no_images_is_said_to_be_empty(web: Gateway, body: bytes) -> None:
    told = web.ask(body=body, content_type="application/json")
    assert (told.status, told.json["detail"]) == (400, "got an empty list of images; wanted 1 to 64")


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_told_as_a_problem(web: Gateway, name: str) -> None:
    body, status, title = BROKEN[name]
    problem(web.ask(body=body, content_type="application/json" if "json" in name else "image/png"), status, title)


def test_a_tensor_of_the_wrong_length_or_type_is_refused(web: Gateway) -> None:
    problem(web.ask(body=bytes(783), content_type="application/octet-stream"), 400, "Wrong tensor")
    npy = io.BytesIO()
    np.save(npy, np.zeros((1, 28, 28), np.float32))
    problem(web.ask(body=npy.getvalue()), 400, "Wrong tensor")
    problem(web.ask(body=b"\x93NUMPY\x01\x00\xff\xff"), 400, "Wrong tensor")
    good = npy.getvalue()
    for wrong in (
        good.replace(b"(1, 28, 28)", b"(1, 28, 28 "),
        good.replace(b"(1, 28, 28)", b"(9" + b"9" * 30 + b",)"),
        good.replace(b"'<f4'", b"('',)"),
    ):
        problem(web.ask(body=wrong), 400, "Wrong tensor")
    one = io.BytesIO()
    np.save(one, np.full((1, 28, 28), 9, np.uint8))
    assert web.ask(body=one.getvalue()).status == 200
    assert "more than one array" in web.ask(body=one.getvalue() * 2).json["detail"]
    assert "max_header_size" not in web.ask(body=b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 65535).json["detail"]


def test_paths_and_methods_that_do_not_exist_are_problems_too(web: Gateway) -> None:
    problem(web.ask("/nowhere"), 404, "Not Found")
    answer = web.ask("/api/predict", method="GET")
    problem(answer, 405, "Method Not Allowed")
    assert "POST" in answer.headers["allow"]


def test_the_model_tells_about_itself(web: Gateway) -> None:
    model = web.ask("/api/model").json
    assert model["version"] == 1
    assert {"version": 1, "state": "AVAILABLE"} in model["versions"]
    assert model["signatures"]["serving_default"]["inputs"] == {"images": "uint8 [N, 28, 28]"}
    assert "mnist_test" in model["figures"]


def test_the_callers_request_id_comes_back_if_it_is_plain(web: Gateway) -> None:
    assert web.ask(body=ONE, headers={"X-Request-Id": "abc-1"}).json["request_id"] == "abc-1"
    assert web.ask(body=ONE, headers={"X-Request-Id": 'a"b\tc'}).json["request_id"] != 'a"b\tc'


def test_the_log_has_one_line_of_json_a_request_without_pixels_or_raw_input(web: Gateway) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    sent = {"X-Request-Id": "find-me", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    web.ask("/api/predict?top=2", ONE, headers=sent)
    web.ask("/no%0Awhere%22", headers={"X-Request-Id": "me-too"})
    failing = {"traceparent": sent["traceparent"]}
    web.ask(body=BROKEN["half a png"][0], headers={"X-Request-Id": "half", **failing})
    web.ask("/api/predict?version=99", ONE, headers={"X-Request-Id": "which", **failing})
    secret = (
        f'--x\r\nContent-Disposition: form-data; name="secret {base64.b64encode(ONE).decode()}"\r\n\r\n.\r\n--x--\r\n'.encode()
    )
    web.ask(body=secret, content_type="multipart/form-data; boundary=x", headers={"X-Request-Id": "form"})
    web.ask("/api/predict?top=secret", ONE, headers={"X-Request-Id": "option"})
    web.ask("/api/predict?label=secret", ONE, headers={"X-Request-Id": "label"})
    one_of_two = json.dumps([base64.b64encode(ONE).decode(), "nonsense"]).encode()
    web.ask(body=one_of_two, headers={"X-Request-Id": "one-of-two"})
    web.ask("/livez")
    for _ in range(100):
        whole = [line for line in web.log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
        lines = [json.loads(line) for line in whole]
        found = {one["request_id"]: one for one in lines}
        if {"me-too", "find-me", "half", "which", "one-of-two", "form", "option", "label"} <= set(found):
            break
        web.ask("/livez")
    assert found["find-me"]["status"] == 200
    assert found["find-me"]["trace_id"] == trace
    assert found["find-me"]["digit"] in range(10)
    assert not re.search(r"[A-Za-z0-9+/]{80}", web.log.read_text()), "no picture in base64"
    assert "secret" not in web.log.read_text()
    assert found["half"]["why"] == "Broken image"
    assert (found["form"]["why"], found["option"]["why"]) == ("Not an image", "Unreadable request")
    assert found["which"]["why"] == found["label"]["why"] == "No such model"
    assert found["half"]["trace_id"] == found["which"]["trace_id"] == trace
    assert (found["one-of-two"]["status"], found["one-of-two"]["failed"]) == (200, 1)
    assert found["me-too"]["status"] == 404


def test_metrics_are_added_up_over_the_workers(web: Gateway) -> None:
    def counted() -> float:
        lines = web.ask("/metrics").body.decode().splitlines()
        wanted = 'digits_requests_total{endpoint="api.predict",status="200"}'
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(wanted))

    before = counted()
    for _ in range(20):
        web.ask(body=ONE)
    assert counted() == before + 20
    text = web.ask("/metrics").body.decode()
    for name in (
        "digits_request_seconds_bucket", 'digits_stage_seconds_count{stage="decode"}', "digits_in_flight",
        "digits_circuit_open 0.0",
        "digits_batch_images_sum", "digits_confidence_bucket", "digits_predicted_total", 'digits_model_version{version="1"} 1.0',
        'digits_answers_total{label="",version="1"}', "digits_contract_mismatch 0.0",
    ):  # fmt: skip
        assert name in text, name


def test_other_origins_may_ask_where_the_settings_say_so(web: Gateway) -> None:
    allowed = web.ask("/api/predict", method="OPTIONS", headers={"Origin": "https://friend.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://friend.example"
    assert "access-control-allow-origin" not in web.ask(body=ONE, headers={"Origin": "https://other.example"}).headers


def test_every_answer_carries_the_security_headers_and_names_no_server(web: Gateway) -> None:
    for path in ("/", "/api/model", "/nowhere"):
        headers = web.ask(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers
