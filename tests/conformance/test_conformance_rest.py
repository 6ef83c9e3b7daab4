"""The REST API as the behaviour sheet has it, over plain HTTP."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("path", "body", "want"),
    [
        ("half_plus_two", {"instances": [2.0, 3.0, 4.0]}, {"predictions": [3.0, 3.5, 4.0]}),
        ("half_plus_two", {"inputs": [2.0, 3.0]}, {"outputs": [3.0, 3.5]}),
        ("shift", {"instances": [{"x": 1}]}, {"predictions": [3.0]}),
        ("shift/versions/1", {"instances": [1]}, {"predictions": [2.0]}),
        ("shift/labels/canary", {"instances": [1]}, {"predictions": [3.0]}),
        ("types", {"signature_name": "id_string", "inputs": {"b64": "a2l3aQ=="}}, {"outputs": "kiwi"}),
        ("types", {"signature_name": "id_bool", "inputs": [[True], [False]]}, {"outputs": [[True], [False]]}),
        ("types", {"signature_name": "id_int64", "inputs": 2**63 - 1}, {"outputs": 2**63 - 1}),
        (
            "types",
            {"signature_name": "several", "instances": [{"a": 1, "tag": "t"}]},
            {"predictions": [{"doubled": 2.0, "tag": "t", "tag_bytes": {"b64": "dA=="}}]},
        ),
        ("types", {"signature_name": "total", "inputs": [1, 2]}, {"outputs": 3.0}),
    ],
)
def test_predict_answers_in_the_form_it_was_asked_in(target: Any, path: str, body: Any, want: Any) -> None:
    assert target.post(f"/v1/models/{path}:predict", body) == (200, want)


def test_classify_and_regress_answer_under_results(target: Any) -> None:
    body = {"signature_name": "classify_x_to_y", "examples": [{"x": 2.0}]}
    assert target.post("/v1/models/half_plus_two:classify", body) == (200, {"results": [[["", 3.0]]]})
    body = {"signature_name": "regress_x_to_y", "context": {"x": 4.0}, "examples": [{"x": 2.0}, {}]}
    assert target.post("/v1/models/half_plus_two:regress", body) == (200, {"results": [3.0, 4.0]})


def test_replies_are_laid_out_to_the_byte(target: Any) -> None:
    _, row, headers = target.rest("POST", "/v1/models/types:predict", '{"instances": [8000000, 250, 0.3, NaN]}')
    assert row == b'{\n    "predictions": [8e+06, 250.0, 0.3, NaN\n    ]\n}'
    assert headers["content-type"] == "application/json"
    _, column, _ = target.rest("POST", "/v1/models/types:predict", '{"inputs": [[1, 2]]}')
    expected = (
        b'{\n    "outputs": [\n        [\n            1.0,\n            2.0\n        ]\n    ]\n}'
    )  # fmt: skip
    assert column == expected


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("shift:predict", "", 400, "JSON Parse error: The document is empty"),
        ("shift:predict", "[1]", 400, "Is not object"),
        ("shift:predict", '{"instances": [1', 400, "JSON Parse error: Missing a comma or ']' after an array element."),
        ("absent:predict", "{", 400, "JSON Parse error: Missing a name for object member."),
        ("absent:predict", "{}", 404, "Servable not found for request: Latest(absent)"),
        ("shift/versions/9:predict", "{}", 404, "Servable not found for request: Specific(shift, 9)"),
        ("shift/labels/no:predict", "{}", 400, "Unrecognized servable version label: no"),
        ("shift:predict", "{}", 400, "Missing 'inputs' or 'instances' key"),
        ("shift:predict", '{"signature_name": 1}', 400, "'signature_name' key must be a string value."),
        ("shift:predict", '{"signature_name": "s"}', 400, 'Serving signature name: "s" not found in signature def'),
        ("shift:predict", '{"instances": []}', 400, "No values in 'instances' array"),
        (
            "shift:predict",
            '{"instances": ["a"]}',
            400,
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT",
        ),
        (
            "shift:predict",
            '{"instances": [1], "inputs": [1]}',
            400,
            "expecting only one of 'inputs' or 'instances' keys to exist",
        ),
        ("shift:predict", '{"instances": [[1, 2], [3]]}', 400, "Expecting tensor size: 2 but got: 1"),
        ("types:predict", '{"signature_name": "id_half", "inputs": 0.5}', 501, "Conversion of JSON Value: 0.5 to type: half"),
        ("types:predict", '{"signature_name": "total", "instances": [1]}', 400, "Tensor name: sum has no shape information "),
        (
            "types:predict",
            '{"signature_name": "several", "inputs": {"a": 1}}',
            400,
            "Missing named input: tag in 'inputs' object.",
        ),
        ("half_plus_two:classify", "{}", 400, "key 'examples' is expected and was not found"),
        ("half_plus_two:regress", '{"examples": [1]}', 400, "Example must be JSON object but got JSON Number"),
        ("shift:rank", "{}", 400, "Malformed request: POST /v1/models/shift:rank"),
        ("shift:Predict", "{}", 400, "Malformed request: POST /v1/models/shift:Predict"),
        ("shift:predict?x", "{}", 400, "Malformed request: POST /v1/models/shift:predict?x"),
    ],
)
def test_errors_have_their_status_and_words(target: Any, path: str, body: str, status: int, text: str) -> None:
    got, raw, headers = target.rest("POST", f"/v1/models/{path}", body)
    assert got == status
    assert text in json.loads(raw)["error"]
    assert headers["content-type"] == "application/json"


def test_deep_json_is_an_error_and_no_crash(target: Any) -> None:
    depth = 100_000
    status, reply = target.post("/v1/models/shift:predict", '{"instances": ' + "[" * depth + "1" + "]" * depth + "}")
    assert status == 400
    assert "tensor parsing error: x" in reply["error"]


def test_status_is_shown_as_proto_json(target: Any) -> None:
    _, body, _ = target.rest("GET", "/v1/models/half_plus_two")
    one = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert json.loads(body) == {"model_version_status": [one]}
    assert body.endswith(b"}\n")


def test_metadata_shows_every_field(target: Any) -> None:
    _, body, _ = target.rest("GET", "/v1/models/half_plus_two/metadata")
    shown = json.loads(body)
    assert shown["model_spec"] == {"name": "half_plus_two", "signature_name": "", "version": "123"}
    regress = shown["metadata"]["signature_def"]["signature_def"]["regress_x_to_y"]
    assert regress == {
        "inputs": {
            "inputs": {
                "dtype": "DT_STRING",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
                "name": "tf_example:0",
            }
        },
        "outputs": {
            "outputs": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [{"size": "-1", "name": ""}, {"size": "1", "name": ""}], "unknown_rank": False},
                "name": "y:0",
            }
        },
        "method_name": "tensorflow/serving/regress",
        "defaults": {},
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models/absent", 404),
        ("GET", "/v1/models", 400),
        ("GET", "/v1/models/shift/versions/9", 404),
        ("GET", "/v1/models/shift:predict", 400),
        ("HEAD", "/v1/models/shift", 400),
        ("DELETE", "/v1/models/shift", 400),
        ("GET", "/", 404),
        ("GET", "/v2/health", 404),
        ("GET", "/v1/models/shift%zz", 400),
        ("GET", "v1/models/shift", 404),
        ("GET", "//v1/models/shift", 404),
        ("GET", "///v1/models/shift", 200),
        ("GET", "//host/v1/models/shift", 200),
        ("GET", "http://user@host:/v1/models/shift", 200),
        ("GET", "http://[::1]:8501/v1/models/shift", 200),
        ("GET", "http://host:99999/v1/models/shift", 400),
        ("GET", "http://host:port/v1/models/shift", 400),
    ],
)
def test_other_urls_and_methods_have_their_status(target: Any, method: str, path: str, status: int) -> None:
    assert target.rest(method, path)[0] == status


def test_a_gzipped_body_is_inflated(target: Any) -> None:
    body = gzip.compress(b'{"instances": [1]}')
    status, raw, _ = target.rest("POST", "/v1/models/shift:predict", body, {"Content-Encoding": "gzip"})
    assert (status, json.loads(raw)) == (200, {"predictions": [3.0]})


def test_an_expectation_that_nobody_meets_is_refused(target: Any) -> None:
    for expected, status in (("100-Continue", 200), ("a pony", 417)):
        assert target.rest("POST", "/v1/models/shift:predict", b'{"instances": [1]}', {"Expect": expected})[0] == status
    assert target.rest("GET", "/v1/models/shift", headers={"Expect": "a pony"})[0] == 200


def test_options_asks_for_an_origin(target: Any) -> None:
    assert target.rest("OPTIONS", "/v1/models/shift", headers={"Origin": "http://a.example"})[0] == 200
    assert target.rest("OPTIONS", "/v1/models/shift")[0] == 400


@pytest.mark.parametrize(
    "path", ["/v1/models/{m}", "/v1/models/shift?q=[1]", "/nope{", "/v1/models/shift#a#b", "/v1/models/a%zz"]
)
def test_a_target_that_is_no_uri_gets_a_page(target: Any, path: str) -> None:
    status, body, headers = target.rest("GET", path)
    assert (status, headers["content-type"].partition(";")[0]) == (400, "text/html")
    assert b"error" not in body


def test_versions_may_be_a_models_name(target: Any) -> None:
    status, body, _ = target.rest("GET", "/v1/models/versions")
    assert (status, json.loads(body)["error"]) == (404, "Could not find any versions of model versions")


def test_gzip_is_one_member_and_nothing_after_it(target: Any) -> None:
    whole = gzip.compress(b'{"instances": [1]}')
    for body in (whole + b"x", whole + whole):
        status, answer, _ = target.rest("POST", "/v1/models/shift:predict", body, {"Content-Encoding": "gzip"})
        assert (status, json.loads(answer)["error"]) == (400, "JSON Parse error: The document is empty")


def test_metadata_tells_what_a_composite_tensor_is(target: Any) -> None:
    status, body, _ = target.rest("GET", "/v1/models/types/metadata")
    assert status == 200
    signatures = json.loads(body)["metadata"]["signature_def"]["signature_def"]
    spec = signatures["ragged"]["inputs"]["x"]["composite_tensor"]["type_spec"]
    assert spec["type_spec_class"] == "RAGGED_TENSOR_SPEC"
    assert spec["type_spec_class_name"] == "RaggedTensorSpec"
    assert spec["num_flat_components"] == 2
    assert "tuple_value" in spec["type_state"]


def test_a_version_beyond_64_bits_is_seen_before_the_letters_of_the_verb(target: Any) -> None:
    for verb, body in (("predict", b""), ("PREDICT", b"")):
        status, answered, _ = target.rest("POST", f"/v1/models/shift/versions/99999999999999999999:{verb}", "{}")
        assert (status, answered) == (400, body)
