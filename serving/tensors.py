"""Tensors as the core carries them, and the dtypes TensorFlow Serving's API can name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from digits.wire import DataType

Array = NDArray[Any]
NUMPY_DIMENSIONS, MAX_EMPTY = 64, 2**58


class Tensor(NamedTuple):
    """A dtype number (tensorflow.DataType) and its values.

    Strings are object arrays of bytes; dtypes that numpy lacks (bfloat16, float8) are carried as
    unsigned integers of the same width.  TensorFlow allows 254 dimensions and numpy 64, and of an
    empty tensor's other dimensions numpy wants a product that fits: beyond those the array is flat
    and `deep` holds the shape.
    """

    dtype: int
    array: Array
    deep: tuple[int, ...] = ()

    @property
    def dims(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return self.deep or self.array.shape

    @classmethod
    def of(cls, dtype: int, flat: Array, shape: tuple[int, ...]) -> Tensor:
        """A tensor of any rank from its values in row-major order."""
        foreign = len(shape) > NUMPY_DIMENSIONS or (not flat.size and math.prod(filter(None, shape)) > MAX_EMPTY)
        return cls(dtype, flat, shape) if foreign else cls(dtype, flat.reshape(shape))


@dataclass(frozen=True)
class Kind:
    """How one dtype is named, stored and written."""

    number: int
    name: str  # as in error texts: float, int64, string
    storage: np.dtype[Any]
    field: str  # the TensorProto field that holds its values
    bits: bool = False  # the field holds the value's bit pattern (half_val)


def _kind(constant: str, name: str, storage: Any, field: str, bits: bool = False) -> Kind:
    return Kind(DataType[constant].number, name, np.dtype(storage), field, bits)


KINDS: dict[int, Kind] = {
    kind.number: kind
    for kind in (
        _kind("DT_FLOAT", "float", np.float32, "float_val"),
        _kind("DT_DOUBLE", "double", np.float64, "double_val"),
        _kind("DT_INT32", "int32", np.int32, "int_val"),
        _kind("DT_UINT8", "uint8", np.uint8, "int_val"),
        _kind("DT_INT16", "int16", np.int16, "int_val"),
        _kind("DT_INT8", "int8", np.int8, "int_val"),
        _kind("DT_UINT16", "uint16", np.uint16, "int_val"),
        _kind("DT_QINT8", "qint8", np.int8, "int_val"),
        _kind("DT_QUINT8", "quint8", np.uint8, "int_val"),
        _kind("DT_QINT32", "qint32", np.int32, "int_val"),
        _kind("DT_QINT16", "qint16", np.int16, "int_val"),
        _kind("DT_QUINT16", "quint16", np.uint16, "int_val"),
        _kind("DT_STRING", "string", object, "string_val"),
        _kind("DT_COMPLEX64", "complex64", np.complex64, "scomplex_val"),
        _kind("DT_COMPLEX128", "complex128", np.complex128, "dcomplex_val"),
        _kind("DT_INT64", "int64", np.int64, "int64_val"),
        _kind("DT_BOOL", "bool", np.bool_, "bool_val"),
        _kind("DT_HALF", "half", np.uint16, "half_val", bits=True),
        _kind("DT_BFLOAT16", "bfloat16", np.uint16, "half_val", bits=True),
        _kind("DT_UINT32", "uint32", np.uint32, "uint32_val"),
        _kind("DT_UINT64", "uint64", np.uint64, "uint64_val"),
        _kind("DT_FLOAT8_E5M2", "float8_e5m2", np.uint8, "float8_val", bits=True),
        _kind("DT_FLOAT8_E4M3FN", "float8_e4m3fn", np.uint8, "float8_val", bits=True),
        _kind("DT_FLOAT8_E4M3FNUZ", "float8_e4m3fnuz", np.uint8, "float8_val", bits=True),
        _kind("DT_FLOAT8_E4M3B11FNUZ", "float8_e4m3b11fnuz", np.uint8, "float8_val", bits=True),
        _kind("DT_FLOAT8_E5M2FNUZ", "float8_e5m2fnuz", np.uint8, "float8_val", bits=True),
        _kind("DT_INT4", "int4", np.int8, "int_val"),
        _kind("DT_UINT4", "uint4", np.uint8, "int_val"),
        _kind("DT_INT2", "int2", np.int8, "int_val"),
        _kind("DT_UINT2", "uint2", np.uint8, "int_val"),
    )
}

STRING = DataType["DT_STRING"].number
FLOAT = DataType["DT_FLOAT"].number
DOUBLE = DataType["DT_DOUBLE"].number
BOOL = DataType["DT_BOOL"].number
RESOURCE = DataType["DT_RESOURCE"].number
VARIANT = DataType["DT_VARIANT"].number
HANDLES = (RESOURCE, VARIANT)
"""Dtypes whose values live in a session: no request can bring one."""
NO_HANDLE = "0(name:  type: )"


def handle(dtype: int, name: str, shape: tuple[int, ...]) -> Tensor:
    """A tensor of one of the HANDLES.  name: how error texts tell a resource."""
    return Tensor(dtype, np.array(name, object), shape)


def type_name(dtype: int) -> str:
    """TensorFlow's DataTypeString: float for 1, INVALID for 0, float_ref for 101."""
    constant = constant_name(dtype)
    if not constant.startswith("DT_"):
        return f"unknown dtype enum ({dtype})"
    name = constant.removeprefix("DT_")
    return name if name == "INVALID" else name.lower()


def constant_name(dtype: int) -> str:
    """DT_FLOAT for 1: how error texts about outputs name a dtype."""
    for name, value in DataType.items():
        if value.number == dtype:
            return str(name)
    return str(dtype)
