"""JSON at the edges, as RapidJSON and TensorFlow Serving's conversions take it: numbers, repeated keys, base64, empty lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

TYPES = "/v1/models/types:predict"


def error(answer: tuple[int, bytes, Any]) -> str:
    """The text of a 400."""
    status, body, _ = answer
    assert status == 400, (status, body)
    return str(json.loads(body)["error"])


@pytest.mark.parametrize(
    ("literal", "printed"),
    [
        ("2e308", "Infinity"),
        ("-1.8e308", "-Infinity"),
        ("1e23", "1e+23"),
        ("6E23", "5.9999999999999995e+23"),
        ("123456789012345678901234567890", "1.2345678901234566e+29"),
        ("5e-324", "0.0"),
        ("-1e-400", "-0.0"),
        ("1e0000000005", "100000.0"),
        ("-NaN", "NaN"),
        ("9.123456789012345", "9.1234567890123444"),
        ("0.78512345678901237", "0.7851234567890123"),
    ],
)
def test_doubles_are_read_the_fast_way(target: Any, literal: str, printed: str) -> None:
    body = f'{{"signature_name": "id_double", "inputs": {literal}}}'
    assert target.rest("POST", TYPES, body)[1] == f'{{\n    "outputs": {printed}\n}}'.encode()
    many = ", ".join([literal] * 300)
    body = f'{{"signature_name": "id_double", "inputs": [{many}]}}'
    numbers = target.rest("POST", TYPES, body)[1].partition(b"[")[2].partition(b"]")[0]
    assert [one.strip() for one in numbers.split(b",")] == [printed.encode()] * 300


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("0e309", "Number too big to be stored in double."),
        ("1" * 310, "Number too big to be stored in double."),
        ("Infinit", "Invalid value."),
    ],
)
def test_numbers_that_cannot_be_are_parse_errors(target: Any, literal: str, text: str) -> None:
    assert error(target.rest("POST", TYPES, f'{{"inputs": {literal}}}')).startswith(f"JSON Parse error: {text} at offset: ")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"instances', "Missing a closing quotation mark in string. at offset: 11"),
        (b'{"instances": [-]}', "Invalid value. at offset: 16"),
        (b'{"instances": [nan]}', "Invalid value. at offset: 16"),
        (b"[tru]", "Invalid value. at offset: 4"),
        (b"}", "The document is empty. at offset: 0"),
        (b"\0", "The document is empty. at offset: 0"),
        (b'["\\ud83d\\u12g4"]', "Incorrect hex digit after \\u escape in string. at offset: 2"),
        (b'{"signature_name": "id_double", "inputs": NaN.}', "Miss fraction part in number. at offset: 46"),
        (b'{"inputs": [' + b"0e999, " * 100 + b"1]}", "Number too big to be stored in double. at offset: 12"),
    ],
)
def test_a_parse_error_says_where_as_rapidjson_counts(target: Any, body: bytes, text: str) -> None:
    assert error(target.rest("POST", TYPES, body)) == f"JSON Parse error: {text}"


@pytest.mark.parametrize(
    ("literal", "printed"), [("NInf", "Infinity"), ("-NaInfinity", "-Infinity"), ("NaN.25", "0.25"), ("NaNe5", "0.0")]
)
def test_nan_and_infinity_pass_in_odd_forms(target: Any, literal: str, printed: str) -> None:
    body = f'{{"signature_name": "id_double", "inputs": {literal}}}'
    assert target.rest("POST", TYPES, body)[1] == f'{{\n    "outputs": {printed}\n}}'.encode()


def test_each_byte_of_a_byte_order_mark_is_skipped_by_itself(target: Any) -> None:
    for mark in (b"\xef\xbb\xbf", b"\xef\xbb", b"\xbb", b"\xbf"):
        assert target.rest("POST", TYPES, mark + b'{"inputs": 1}')[0] == 200


@pytest.mark.parametrize(
    ("literal", "shown"),
    [
        ("1e-7", "1e-7"),
        ("1e300", "1e300"),
        ("0.00001", "0.00001"),
        ("1e21", "1e21"),
        ("-2.50", "-2.5"),
        ("1e20", "100000000000000000000.0"),
    ],
)
def test_an_error_shows_a_double_as_rapidjson_prints_it(target: Any, literal: str, shown: str) -> None:
    answer = target.rest("POST", TYPES, f'{{"signature_name": "id_int32", "inputs": {literal}}}')
    assert error(answer) == f"JSON Value: {shown} Type: Number is not of expected type: int32"


def test_an_object_is_no_number_whatever_the_type(target: Any) -> None:
    for dtype in ("half", "uint16", "complex64"):
        answer = target.rest("POST", TYPES, f'{{"signature_name": "id_{dtype}", "inputs": {{"x": {{"a": 1}}}}}}')
        assert error(answer).endswith(f"Type: Object is not of expected type: {dtype}")


def test_a_name_ends_at_a_nul(target: Any) -> None:
    assert target.rest("POST", TYPES, b'{"instances": [{"x\\u0000y": 1.0}]}')[0] == 200


def test_every_value_of_a_repeated_key_must_do_and_the_first_ones_count(target: Any) -> None:
    body = '{"signature_name": "id_float", "instances": [{"x": 1, "x": 2}, {"x": 3}]}'
    assert target.post(TYPES, body) == (200, {"predictions": [1.0, 2.0]})
    wrong = error(target.rest("POST", TYPES, '{"instances": [{"x": 1, "x": "a"}]}'))
    assert wrong.startswith("Failed to process element: 0 key: x of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: ")
    body = '{"signature_name": "id_string", "instances": [{"b64": "YQ==", "b64": "YQ=="}]}'
    assert error(target.rest("POST", TYPES, body)).endswith("JSON object: does not have named input: b64")


def test_dots_pad_base64_too(target: Any) -> None:
    assert target.post(TYPES, '{"signature_name": "id_string", "inputs": {"b64": "a2l3aQ.."}}') == (200, {"outputs": "kiwi"})


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64"])
def test_an_empty_tensor_is_printed_whatever_its_dtype(target: Any, dtype: str) -> None:
    body = {"signature_name": f"id_{dtype}", "instances": [[], []]}
    assert target.post(TYPES, body) == (200, {"predictions": [[], []]})


def test_base64_first_and_several_inputs_is_a_fault_of_one_of_them(target: Any) -> None:
    text = error(target.rest("POST", TYPES, '{"signature_name": "several", "instances": [{"b64": "YQ=="}]}'))
    assert "is not of expected type: float" in text or text.startswith("input size does not match signature: 1!=2 ")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('{"context": 5}', "Example must be JSON object but got JSON Number"),
        ('{"examples": [{"q": [1, {"b64": "*"}]}]}', "Unexpected element type in feature: q expecting type: int64"),
        ('{"examples": [{"q": [1.5, 9223372036854775808]}]}', "Unexpected element type in feature: q expecting type: float"),
        ('{"examples": [{"q": null, "q": 1}]}', "Feature: q has element with unexpected JSON type: Null"),
    ],
)
def test_the_first_fault_of_examples_is_named(target: Any, body: str, text: str) -> None:
    assert error(target.rest("POST", "/v1/models/half_plus_two:classify", body)) == text


def test_a_feature_whose_name_is_not_utf8_is_one_that_nobody_asks_for(target: Any) -> None:
    body = b'{"signature_name": "regress_x_to_y", "examples": [{"x": 1.0, "x": 2.0, "\xff": true}]}'
    status, raw, _ = target.rest("POST", "/v1/models/half_plus_two:regress", body)
    assert (status, json.loads(raw)) == (200, {"results": [3.0]})


def test_a_version_of_any_length_is_read(target: Any) -> None:
    assert target.rest("GET", f"/v1/models/shift/versions/{'9' * 5000}")[:2] == (400, b"")
    assert target.rest("GET", f"/v1/models/shift/versions/{'0' * 5000}1")[0] == 200


def test_an_offer_of_another_protocol_is_passed_over(target: Any) -> None:
    headers = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQCAAAAAAIAAAAA"}
    status, raw, _ = target.rest("POST", TYPES, b'{"instances": [1]}', headers)  # what curl --http2 sends
    assert (status, json.loads(raw)) == (200, {"predictions": [1.0]})


@pytest.mark.parametrize(
    ("signature", "given", "status", "text"),
    [
        ("variant", '"inputs": [1.0]', 501, "Conversion of JSON Value: 1.0 to type: variant"),
        ("variant", '"instances": [{"b64": "YQ=="}]', 400, "is not of expected type: variant"),
        ("ragged", '"inputs": [1.0]', 501, "Conversion of JSON Value: 1.0 to type: INVALID"),
        ("ragged", '"inputs": []', 400, "tensor parsing error: x"),
    ],
)
def test_dtypes_that_json_cannot_bring_are_named(target: Any, signature: str, given: str, status: int, text: str) -> None:
    got, body, _ = target.rest("POST", TYPES, f'{{"signature_name": "{signature}", {given}}}')
    assert (got, text in json.loads(body)["error"]) == (status, True), body


def test_an_empty_list_is_an_empty_variant(target: Any) -> None:
    got, body, _ = target.rest("POST", TYPES, '{"signature_name": "variant", "inputs": []}')
    assert (got, json.loads(body)) == (200, {"outputs": 1.0}), body
