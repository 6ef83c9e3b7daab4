"""JSON as TensorFlow Serving prints it: RapidJSON's pretty writer, its numbers and its odd line breaks."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np

from serving.json_reader import members
from serving.tensors import DOUBLE, FLOAT, STRING, Tensor

DUMP_BYTES = 256  # a value quoted in an error text is cut soon after
INDENT = b"    "
_ESCAPED = {n: f"\\u{n:04X}".encode() for n in range(0x20)} | {
    0x22: b'\\"', 0x5C: b"\\\\", 0x08: b"\\b", 0x0C: b"\\f", 0x0A: b"\\n", 0x0D: b"\\r", 0x09: b"\\t",
}  # fmt: skip


def string(value: bytes) -> bytes:
    """A JSON string of bytes as they are: nobody checks that they are UTF-8."""
    if not any(c < 0x20 or c in (0x22, 0x5C) for c in value):
        return b'"' + value + b'"'
    return b'"' + b"".join(_ESCAPED.get(c, value[i : i + 1]) for i, c in enumerate(value)) + b'"'


def real(value: float, single: bool) -> bytes:
    """Six significant digits if they read back to the same value, else 9 (float) or 17 (double)."""
    if not math.isfinite(value):
        return b"NaN" if math.isnan(value) else (b"Infinity" if value > 0 else b"-Infinity")
    text = f"{value:.6g}"
    if (np.float32(text) if single else float(text)) != value:
        text = f"{value:.9g}" if single else f"{value:.17g}"
    return (text if "." in text or "e" in text else text + ".0").encode()


def scalar_printer(tensor: Tensor) -> Any:
    """Return the function that prints one element of a tensor."""
    if tensor.dtype == FLOAT:
        return lambda v: real(v, True)
    if tensor.dtype == DOUBLE:
        return lambda v: real(v, False)
    if tensor.dtype == STRING:
        return string
    if tensor.array.dtype.kind == "b":
        return lambda v: b"true" if v else b"false"
    return lambda v: str(v).encode()


class Printer:
    """Prints values at a level of indent, arrays on one line or one element a line."""

    def __init__(self, tensor: Tensor, as_base64: bool) -> None:
        self._print = scalar_printer(tensor)
        self._base64 = as_base64

    def value(self, value: Any, level: int, one_line: bool) -> bytes:
        """Print a scalar or nested lists whose enclosing container is at `level`."""
        if isinstance(value, list):
            if not value:
                return b"[]"
            if one_line:
                return b"[" + b", ".join([self.value(item, level + 1, True) for item in value]) + b"]"
            inside = b"\n" + INDENT * (level + 1)
            return (
                b"[" + b",".join([inside + self.value(item, level + 1, False) for item in value]) + b"\n" + INDENT * level + b"]"
            )
        if self._base64:
            encoded = base64.b64encode(value)
            return b"{\n" + INDENT * (level + 1) + b'"b64": "' + encoded + b'"\n' + INDENT * level + b"}"
        return bytes(self._print(value))


def nested(tensor: Tensor) -> Any:
    """The tensor's values as nested lists, or one scalar."""
    flat = tensor.array.ravel().tolist()
    for axis in range(len(tensor.dims) - 1, 0, -1):
        size = tensor.dims[axis]
        flat = [flat[at : at + size] for at in range(0, len(flat), size)] if size else [[]] * math.prod(tensor.dims[:axis])
    return flat if tensor.dims else flat[0]


def error_body(text: str) -> bytes:
    """`{"error": text}`."""
    return b'{\n    "error": ' + string(text.encode("utf-8", "surrogateescape")) + b"\n}"


def dump(value: Any) -> str:
    """A parsed value as error texts quote it: pretty, arrays on one line, cut soon after 256 bytes."""
    out = b""
    for lead, token in _tokens(value):
        out += lead + token
        if len(out) > DUMP_BYTES or not token:
            break
    return out.decode("utf-8", "surrogateescape")


def _tokens(value: Any) -> Iterator[tuple[bytes, bytes]]:
    """Tokens of a value, each with what separates it from the one before; an empty one (NaN) ends it all.

    Without recursion, and into no more levels than can be printed.
    """
    stack: list[tuple[Iterator[Any], bool, int]] = []
    pending: list[Any] = [value]
    lead = b""
    while True:
        if pending:
            current = pending.pop()
            if isinstance(current, dict):
                yield lead, b"{"
                stack.append((iter(members(current)), True, 0))
            elif isinstance(current, list):
                yield lead, b"["
                stack.append((iter(current), False, 0))
            else:
                yield lead, _literal(current)
            lead = b""
        if not stack:
            return
        items, is_object, count = stack[-1]
        depth = len(stack)
        try:
            item = next(items)
        except StopIteration:
            stack.pop()
            if is_object:
                yield (b"\n" + INDENT * (depth - 1) if count else b""), b"}"
            else:
                yield b"", b"]"
            continue
        stack[-1] = (items, is_object, count + 1)
        if is_object:
            key, item = item
            yield (b"," if count else b"") + b"\n" + INDENT * depth, string(key.encode("utf-8", "surrogateescape"))
            lead = b": "
        elif count:
            lead = b", "
        pending.append(item)


def _literal(value: Any) -> bytes:
    if isinstance(value, bytes):
        return string(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return b""
        return _double(value).encode()
    return json.dumps(value).encode()


def _double(value: float) -> str:
    """A finite double as RapidJSON prints it: plain between 1e-6 and 1e21, `1e21` and `1.5e-7` beyond."""
    sign, figures, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, figures)).rstrip("0") or "0"
    point = len(figures) + int(exponent) if digits != "0" else 1  # where the decimal point stands
    if 0 < point <= 21:
        text = digits[:point].ljust(point, "0") + "." + (digits[point:] or "0")
    elif -6 < point <= 0:
        text = "0." + "0" * -point + digits
    else:
        text = digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1}"
    return "-" * sign + text
