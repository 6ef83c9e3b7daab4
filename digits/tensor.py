"""numpy arrays ↔ TensorProto for the dtypes of this project's contract, without TensorFlow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from digits import wire
from digits.errors import BadModelOutput

_NUMBERS: dict[np.dtype[Any], tuple[str, str]] = {
    np.dtype(np.float32): ("DT_FLOAT", "float_val"),
    np.dtype(np.uint8): ("DT_UINT8", "int_val"),
    np.dtype(np.int64): ("DT_INT64", "int64_val"),
}
_BY_NUMBER = {wire.DataType[name].number: (dtype, field) for dtype, (name, field) in _NUMBERS.items()}
_STRING = wire.DataType["DT_STRING"].number


def fill(proto: Any, array: NDArray[Any]) -> None:
    """Put a numeric array into a TensorProto, as tensor_content."""
    proto.dtype = wire.DataType[_NUMBERS[array.dtype][0]].number
    for size in array.shape:
        proto.tensor_shape.dim.add().size = size
    proto.tensor_content = array.tobytes()


def fill_strings(proto: Any, values: Sequence[bytes]) -> None:
    """Put a vector of strings into a TensorProto."""
    proto.dtype = _STRING
    proto.tensor_shape.dim.add().size = len(values)
    proto.string_val.extend(values)


def array(proto: Any) -> NDArray[Any]:
    """Read a numeric TensorProto, from tensor_content or its *_val field.  Raises BadModelOutput."""
    try:
        dtype, field = _BY_NUMBER[proto.dtype]
    except KeyError:
        raise BadModelOutput(f"got a tensor of dtype {proto.dtype}; wanted float32, uint8 or int64") from None
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    content, values = proto.tensor_content, getattr(proto, field)
    count = len(content) / dtype.itemsize if content else len(values)
    if min(shape, default=0) < 0 or count != math.prod(shape):
        raise BadModelOutput(f"got {count:g} values for a tensor of shape {list(shape)}")
    try:
        read = np.frombuffer(content, dtype) if content else np.array(values, dtype)
    except OverflowError:  # int_val holds more than a uint8 can
        raise BadModelOutput(f"got values that are no {dtype}") from None
    shaped: NDArray[Any] = read.reshape(shape)
    return shaped


def strings(proto: Any) -> list[bytes]:
    """Read a vector of strings.  Raises BadModelOutput."""
    if proto.dtype != _STRING:
        raise BadModelOutput(f"got a tensor of dtype {proto.dtype}; wanted string")
    return list(proto.string_val)
