"""REST classify and regress bodies → tf.Examples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from serving.json_reader import members
from serving.json_values import decode_base64, is_base64_object, type_name
from serving.json_writer import dump
from serving.status import invalid


def fill(document: Mapping[str, Any], into: Any) -> None:
    """Fill an Input message from `examples` and an optional `context`.  Raises Status."""
    has_context = "context" in document
    if has_context:
        _example(document["context"], into.example_list_with_context.context)
        into.example_list_with_context.context.SetInParent()
    if "examples" not in document:
        raise invalid(f"JSON Value: {dump(document)} When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {dump(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {dump(document)} 'examples' value is an empty array")
    target = into.example_list_with_context if has_context else into.example_list
    for example in examples:
        _example(example, target.examples.add())


def _example(given: Any, into: Any) -> None:
    if not isinstance(given, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(given)}")
    for whole, value in members(given):
        name = whole.partition("\0")[0]  # upstream's names are C strings
        feature = into.features.feature[name.encode(errors="surrogateescape").decode(errors="backslashreplace")]
        feature.Clear()  # of repeated keys the last counts
        _feature(name, value if isinstance(value, list) else [value], feature)


def _feature(name: str, values: list[Any], into: Any) -> None:
    kind: str | None = None
    for value in values:
        own = _kind(name, value)
        kind = kind or own
        if own != kind:
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {kind}")
        field = {"bytes": into.bytes_list, "int64": into.int64_list, "float": into.float_list}[kind]
        field.value.append(_element(name, value))


def _kind(name: str, value: Any) -> str:
    if isinstance(value, bytes) or is_base64_object(value):
        return "bytes"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float"
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _element(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return decode_base64(value["b64"])
    if isinstance(value, float):
        return _single(value)
    if isinstance(value, int) and value >= 2**63:
        raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return int(value) if isinstance(value, bool) else value


def _single(value: float) -> float:
    """Beyond a float's range is infinity, as a C++ cast has it; what is too small for a normal one is flushed to zero."""
    if abs(value) < 1.1754943508222875e-38:
        return math.copysign(0.0, value)
    if abs(value) > 3.4028235677973366e38 and abs(value) != float("inf"):
        return float("inf") if value > 0 else float("-inf")
    return value
