"""REST predict bodies → tensors: the row form (`instances`) and the columnar form (`inputs`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from serving.json_columns import Column, dense, numbers
from serving.json_reader import members
from serving.json_values import is_base64_object
from serving.json_writer import dump
from serving.status import Status, invalid
from serving.tensors import Tensor


def read(document: Mapping[str, Any], inputs: Mapping[str, Any], signature_name: str) -> tuple[dict[str, Tensor], bool]:
    """Read a predict body against a signature's inputs (TensorInfo by alias).

    Returns tensors by alias, and whether it was the row form.  Raises Status.
    """
    if not inputs:
        raise invalid(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
    has_rows, has_columns = "instances" in document, "inputs" in document
    if has_rows and has_columns:
        raise invalid(
            f"JSON Value: {dump(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )  # fmt: skip
    if has_rows:
        return _read_rows(document, inputs), True
    if has_columns:
        return _read_columns(document["inputs"], inputs), False
    raise invalid("Missing 'inputs' or 'instances' key")


def _read_columns(given: Any, inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    named = isinstance(given, dict) and not is_base64_object(given)
    if not named and len(inputs) > 1:
        raise invalid(
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"
        )
    tensors = {}
    for alias, info in inputs.items():
        if named and alias not in given:
            raise invalid(f"Missing named input: {alias} in 'inputs' object.")
        tensors[alias] = dense(alias, info, given[alias] if named else given)
    return tensors


def _read_rows(document: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {dump(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {dump(document)} No values in 'instances' array")
    if isinstance(rows[0], dict) and not is_base64_object(rows[0]):
        return _named_rows(rows, inputs)
    if len(inputs) > 1 and not isinstance(rows[0], dict):
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map"
        )
    alias, info = next(iter(inputs.items()))  # of several, when the first element is {"b64": ...}: any one, as upstream
    column = Column(info)
    fast = numbers(rows, column.kind)
    if fast is not None:
        return {alias: fast}
    gatherer = _Rows(column)
    for index, row in enumerate(rows):
        if isinstance(row, dict) and not is_base64_object(row):
            raise invalid(f"Expecting value/list but got object at item {index} of input list")
        _wrapped(lambda row=row: gatherer.add(row), f"Failed to process element: {index} of 'instances' list. Error: ")  # type: ignore[misc]
    return {alias: gatherer.tensor(alias, len(rows))}


class _Rows:
    """A column filled one row at a time; every row must have the first one's shape."""

    def __init__(self, column: Column) -> None:
        self._column = column
        self._shape: tuple[int, ...] | None = None
        self._size = 0

    def add(self, row: Any) -> None:
        shape = self._column.shape_of(row)
        count = self._column.fill(row, shape)
        if self._shape is None:
            self._shape, self._size = shape, count
        if count != self._size:
            raise invalid(f"Expecting tensor size: {self._size} but got: {count}")
        if shape != self._shape:
            raise invalid(f"Expecting shape {_shown(self._shape)} but got: {_shown(shape)}")

    def tensor(self, alias: str, rows: int) -> Tensor:
        return self._column.tensor(alias, (rows, *(self._shape or ())))


def _named_rows(rows: list[Any], inputs: Mapping[str, Any]) -> dict[str, Tensor]:
    gatherers = {alias: _Rows(Column(info)) for alias, info in inputs.items()}
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or is_base64_object(row):
            raise invalid(f"Expecting object but got list at item {index} of input list")
        named = {}
        for whole, value in members(row):
            key = whole.partition("\0")[0]  # upstream's keys are C strings here
            named[key] = value
            where = f"Failed to process element: {index} key: {key} of 'instances' list. Error: "
            if key not in gatherers:
                raise invalid(f"{where}INVALID_ARGUMENT: JSON object: does not have named input: {key}")
            _wrapped(lambda key=key, value=value: gatherers[key].add(value), where)  # type: ignore[misc]
        if len(named) != len(inputs):
            wanted = ",".join(sorted(inputs))
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {dump(row)} keys must be equal to: "
                f"{wanted}"
            )
    return {alias: gatherer.tensor(alias, len(rows)) for alias, gatherer in gatherers.items()}


def _wrapped(step: Callable[[], None], where: str) -> None:
    """Put the element's place before a failure's text; in the row form every failure is a 400."""
    try:
        step()
    except Status as status:
        raise invalid(f"{where}{status}") from None


def _shown(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"
