"""Nested JSON lists → one tensor: shapes by the first elements, everything else checked against them."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from serving.json_values import INTEGER_RANGES, REALS, converter
from serving.json_writer import dump
from serving.status import invalid
from serving.tensor_wire import MAX_DIMENSIONS
from serving.tensors import BOOL, HANDLES, KINDS, NO_HANDLE, NUMPY_DIMENSIONS, STRING, Kind, Tensor, handle, type_name


class Column:
    """Gathers one input's values, element by element in the row form."""

    def __init__(self, info: Any) -> None:
        self.kind: Kind | None = KINDS.get(info.dtype)
        self._dtype, self._type = info.dtype, type_name(info.dtype)
        self._convert = converter(self._type)
        self.values: list[Any] = []

    def shape_of(self, value: Any) -> tuple[int, ...]:
        """Shape by the first element of each level."""
        shape = []
        while isinstance(value, list):
            shape.append(len(value))
            if not value:
                break
            value = value[0]
        return tuple(shape)

    def fill(self, value: Any, shape: tuple[int, ...]) -> int:
        """Append a dense value's leaves; returns how many.  Raises Status for ragged or mistyped ones."""
        before = len(self.values)
        rank = len(shape)
        stack: list[tuple[Any, int]] = [(value, 0)]
        append, convert = self.values.append, self._convert
        while stack:
            item, level = stack.pop()
            if not isinstance(item, list):
                if level != rank:
                    raise invalid(
                        f"JSON Value: {dump(item)} found at incorrect level: {level + 1} in the JSON DOM. "
                        f"Expected at level: {rank}"
                    )
                append(convert(item))
            elif level >= rank:
                raise invalid(f"Encountered list at unexpected level: {level} expected < {rank}")
            elif len(item) != shape[level]:
                raise invalid(f"Encountered list at unexpected size: {len(item)} at level: {level} expected size: {shape[level]}")
            elif level == rank - 1 and not any(type(leaf) is list for leaf in item):
                self.values.extend(map(convert, item))
            else:
                stack.extend((inner, level + 1) for inner in reversed(item))
        return len(self.values) - before

    def tensor(self, alias: str, shape: tuple[int, ...]) -> Tensor:
        """Everything gathered, in the given shape; what a repeated key brought beyond it is dropped."""
        if len(shape) > MAX_DIMENSIONS:
            raise invalid(f"tensor parsing error: {alias}")
        if self.kind is None:
            if self._dtype not in HANDLES:
                raise invalid(f"tensor parsing error: {alias}")
            return handle(self._dtype, NO_HANDLE, shape)
        del self.values[math.prod(shape) :]
        if self.kind.number == STRING:
            array: Any = np.empty(len(self.values), object)
            array[:] = self.values
        elif self.kind.storage.kind in "iu":
            wide = np.uint64 if self.kind.name == "uint64" else np.int64
            array = np.array(self.values, wide).astype(self.kind.storage)
        else:
            with np.errstate(over="ignore"):
                array = np.array(self.values, np.float64 if self.kind.number != BOOL else np.bool_).astype(self.kind.storage)
            if self._type in REALS:
                tiny = np.finfo(self.kind.storage).tiny
                array[np.abs(array) < tiny] *= 0  # subnormals are flushed, the sign stays
        return Tensor.of(self.kind.number, array, shape)


def dense(alias: str, info: Any, value: Any) -> Tensor:
    """One whole value → a tensor."""
    column = Column(info)
    fast = numbers(value, column.kind)
    if fast is not None:
        return fast
    shape = column.shape_of(value)
    column.fill(value, shape)
    return column.tensor(alias, shape)


def numbers(value: Any, kind: Kind | None) -> Tensor | None:
    """Lists of nothing but numbers that the dtype takes, all of one shape: the quick way; None for all else.

    One level at a time, so that every step over many values is a call into C.
    """
    if not isinstance(value, list) or kind is None or kind.name not in (*REALS, *INTEGER_RANGES) or kind.name == "uint64":
        return None
    level, shape = value, [len(value)]
    while (types := set(map(type, level))) == {list}:
        sizes = set(map(len, level))
        if len(sizes) != 1 or len(shape) == NUMPY_DIMENSIONS:
            return None
        shape += sizes
        level = list(chain.from_iterable(level))
    if not types or not types <= ({int, float} if kind.name in REALS else {int}):
        return None
    try:
        if kind.name in REALS:
            with np.errstate(over="ignore"):
                stored = np.array(level, np.float64).astype(kind.storage)
            stored[np.abs(stored) < np.finfo(kind.storage).tiny] *= 0  # subnormals are flushed, the sign stays
            return Tensor(kind.number, stored.reshape(shape))
        wide = np.array(level, np.int64)
    except OverflowError:
        return None
    low, high = INTEGER_RANGES[kind.name]
    if wide.min() < low or wide.max() > high:
        return None
    return Tensor(kind.number, wide.astype(kind.storage).reshape(shape))
