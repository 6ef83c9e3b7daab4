"""JSON values → the elements of a tensor: which are allowed for a dtype, and what the refusals say."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from serving.json_reader import Repeated
from serving.json_writer import dump
from serving.status import Code, Status, invalid

INT32 = (-(2**31), 2**31 - 1)
INTEGER_RANGES = {
    "int8": INT32, "uint8": INT32, "int16": INT32, "int32": INT32,
    "int64": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1), "uint64": (0, 2**64 - 1),
}  # fmt: skip
REALS = ("float", "double")
_TYPES = {dict: "Object", list: "Array", bytes: "String", int: "Number", float: "Number", type(None): "Null"}


def type_name(value: Any) -> str:
    """RapidJSON's word for a value's type."""
    if isinstance(value, bool):
        return "True" if value else "False"
    return _TYPES.get(type(value), "Object")


def is_base64_object(value: Any) -> bool:
    """`{"b64": "<string>"}` and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), bytes) and not isinstance(value, Repeated)


def converter(dtype: str) -> Callable[[Any], Any]:
    """Return the function that takes one JSON leaf of an input of this dtype, or raises Status."""

    def mistyped(value: Any) -> Status:
        return invalid(f"JSON Value: {dump(value)} Type: {type_name(value)} is not of expected type: {dtype}")

    def real(value: Any) -> Any:
        if type(value) is float or type(value) is int:
            return value
        raise mistyped(value)

    def boolean(value: Any) -> Any:
        if isinstance(value, bool):
            return value
        raise mistyped(value)

    def string(value: Any) -> Any:
        if isinstance(value, bytes):
            return value
        if isinstance(value, dict):
            if not is_base64_object(value):
                raise invalid(f"JSON Value: {dump(value)} not formatted correctly for base64 data")
            return decode_base64(value["b64"])
        raise mistyped(value)

    def unsupported(value: Any) -> Any:
        if isinstance(value, dict):
            raise mistyped(value)
        raise Status(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {dump(value)} to type: {dtype}")

    if dtype in REALS:
        return real
    if dtype in INTEGER_RANGES:
        low, high = INTEGER_RANGES[dtype]

        def integer(value: Any) -> Any:
            if type(value) is int and low <= value <= high:
                return value
            raise mistyped(value)

        return integer
    return {"bool": boolean, "string": string}.get(dtype, unsupported)


def decode_base64(text: bytes) -> bytes:
    """Standard alphabet, white space skipped, padding (`=` or `.`) optional but right if present.  Raises Status."""
    packed = re.sub(rb"[ \t\n\v\f\r]", b"", text)
    bare = packed.rstrip(b"=.")
    padding = len(packed) - len(bare)
    if len(bare) % 4 == 1 or (padding and (len(packed) % 4 or padding > 2)) or re.search(rb"[^A-Za-z0-9+/]", bare):
        raise invalid("Unable to base64 decode")
    try:
        return base64.b64decode(bare + b"=" * (-len(bare) % 4))
    except binascii.Error:
        raise invalid("Unable to base64 decode") from None
