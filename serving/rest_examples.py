"""REST classify and regress bodies → tf.Examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.json_reader import LastKeys
from serving.json_values import decode_base64, is_base64_object, type_name
from serving.json_writer import dump
from serving.status import Status, invalid


def fill(document: Mapping[str, Any], into: Any) -> None:
    """Fill an Input message from `examples` and an optional `context`.  Raises Status."""
    context = document.get("context")
    has_context = "context" in document
    if "examples" not in document:
        raise invalid(f"JSON Value: {dump(document)} When method is classify, key 'examples' is expected and was not found")
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {dump(document)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {dump(document)} 'examples' value is an empty array")
    target = into.example_list_with_context if has_context else into.example_list
    if has_context:
        _example(context, target.context)
        target.context.SetInParent()
    for example in examples:
        _example(example, target.examples.add())


def _example(given: Any, into: Any) -> None:
    if not isinstance(given, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(given)}")
    features = given.last if isinstance(given, LastKeys) else given  # here the last of repeated keys counts
    for name, value in features.items():
        feature = into.features.feature[name]
        values = value if isinstance(value, list) else [value]
        _feature(name, values, feature)


def _feature(name: str, values: list[Any], into: Any) -> None:
    kind: str | None = None
    for value in values:
        own, converted = _element(name, value)
        if kind is None:
            kind = own
        if own != kind:
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {kind}")
        field = {"bytes": into.bytes_list, "int64": into.int64_list, "float": into.float_list}[kind]
        field.value.append(converted)


def _element(name: str, value: Any) -> tuple[str, Any]:
    if isinstance(value, bytes):
        return "bytes", value
    if is_base64_object(value):
        return "bytes", decode_base64(value["b64"])
    if isinstance(value, bool):
        return "int64", int(value)
    if isinstance(value, int):
        if value >= 2**63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        return "int64", value
    if isinstance(value, float):
        return "float", _single(value)
    raise _unexpected(name, value)


def _unexpected(name: str, value: Any) -> Status:
    return invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _single(value: float) -> float:
    """Beyond a float's range is infinity, as a C++ cast has it."""
    if abs(value) > 3.4028235677973366e38 and abs(value) != float("inf"):
        return float("inf") if value > 0 else float("-inf")
    return value
