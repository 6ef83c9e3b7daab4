"""Results → REST bodies, laid out as upstream lays them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serving.json_values import INTEGER_RANGES, REALS
from serving.json_writer import INDENT, Printer, nested, real, string
from serving.status import invalid
from serving.tensors import KINDS, STRING, Tensor

_PRINTABLE = {*REALS, *INTEGER_RANGES, "bool", "string"}


def predictions(outputs: Mapping[str, Tensor], rows: bool) -> bytes:
    """The reply to a predict in the form it was asked in.  Raises Status."""
    return _rows(outputs) if rows else _columns(outputs)


def _printer(alias: str, tensor: Tensor) -> Printer:
    if tensor.array.size and KINDS[tensor.dtype].name not in _PRINTABLE:
        raise invalid(f"Failed to write JSON value for tensor type: {KINDS[tensor.dtype].name}")
    return Printer(tensor, as_base64=tensor.dtype == STRING and alias.endswith("_bytes"))


def _rows(outputs: Mapping[str, Tensor]) -> bytes:
    size: int | None = None
    for alias, tensor in outputs.items():
        if not tensor.dims:
            raise invalid(f"Tensor name: {alias} has no shape information ")
        if size is None:
            size = tensor.dims[0]
        if tensor.dims[0] != size:
            raise invalid(f"Tensor name: {alias} has inconsistent batch size: {tensor.dims[0]} expecting: {size}")
    if not size:
        return b'{\n    "predictions": []\n}'
    if len(outputs) == 1:
        ((alias, tensor),) = outputs.items()
        printer = _printer(alias, tensor)
        inner = b", ".join([printer.value(row, 2, True) for row in nested(tensor)])
        return b'{\n    "predictions": [' + inner + b"\n    ]\n}"
    columns = [(string(alias.encode()), _printer(alias, tensor), nested(tensor)) for alias, tensor in outputs.items()]
    instances = []
    for at in range(size):
        members = [INDENT * 3 + key + b": " + printer.value(values[at], 3, True) for key, printer, values in columns]
        instances.append(INDENT * 2 + b"{\n" + b",\n".join(members) + b"\n" + INDENT * 2 + b"}")
    return b'{\n    "predictions": [\n' + b",\n".join(instances) + b"\n    ]\n}"


def _columns(outputs: Mapping[str, Tensor]) -> bytes:
    if len(outputs) == 1:
        ((alias, tensor),) = outputs.items()
        return b'{\n    "outputs": ' + _printer(alias, tensor).value(nested(tensor), 1, False) + b"\n}"
    members = [
        INDENT * 2 + string(alias.encode()) + b": " + _printer(alias, tensor).value(nested(tensor), 2, False)
        for alias, tensor in outputs.items()
    ]
    return b'{\n    "outputs": {\n' + b",\n".join(members) + b"\n    }\n}"


def classifications(results: Sequence[Sequence[tuple[bytes, float]]]) -> bytes:
    """Pairs of label and score for each example.  Raises Status."""
    if not results:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    rows = [
        b"[" + b", ".join([b"[" + string(label) + b", " + real(score, True) + b"]" for label, score in row]) + b"]"
        for row in results
    ]
    return b'{\n    "results": [' + b", ".join(rows) + b"\n    ]\n}"


def regressions(results: Sequence[float]) -> bytes:
    """One value an example."""
    if not results:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return b'{\n    "results": [' + b", ".join([real(value, True) for value in results]) + b"]\n}"
