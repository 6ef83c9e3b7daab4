"""Joining the same input of several requests into one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from serving.status import Code, Status, invalid
from serving.tensors import KINDS, Tensor

MAX_PADDED_RANK = 6


def joined(name: str, tensors: Sequence[Tensor], padding: int, pad_variable_lengths: bool) -> Tensor:
    """Concatenate one input over the requests of a batch, and repeat the last one's first row `padding` times.

    Raises Status: dtypes differ, or inner shapes do and may not be padded.
    """
    dtype = tensors[0].dtype
    if pad_variable_lengths and any(len(tensor.dims) > MAX_PADDED_RANK for tensor in tensors):
        raise invalid(f"Only tensors with rank from 1 to {MAX_PADDED_RANK} can be padded.")
    if len(tensors) == 1 and not padding:
        return tensors[0]
    for tensor in tensors:
        if tensor.dtype != dtype:
            raise Status(
                Code.INTERNAL,
                "Tensor concat operation failed: INVALID_ARGUMENT: Cannot concatenate tensors that have different data types. "
                f"Got {KINDS[dtype].name} and {KINDS[tensor.dtype].name}.",
            )
    arrays = [tensor.array for tensor in tensors]
    if any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        arrays = _widened(name, arrays, pad_variable_lengths)
    last = next((array for array in reversed(arrays) if len(array)), None)
    if padding and last is not None:
        arrays.append(np.repeat(last[:1], padding, axis=0))
    return Tensor(dtype, np.concatenate(arrays))


def _widened(name: str, arrays: list[Any], pad_variable_lengths: bool) -> list[Any]:
    """Pad inner dimensions to the widest, each tensor with its own first element."""
    if not pad_variable_lengths or len({array.ndim for array in arrays}) != 1:
        raise Status(
            Code.FAILED_PRECONDITION,
            f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. Set "
            "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions "
            "starting with the first dim.",
        )
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    out = []
    for array in arrays:
        edges = [(0, 0), *((0, int(wide - own)) for wide, own in zip(shape, array.shape[1:], strict=True))]
        if not any(after for _, after in edges):
            out.append(array)
        elif not array.size:
            raise invalid("Got empty tensor in batch of non-empty tensors.")
        else:
            out.append(np.pad(array, edges, constant_values=array.ravel()[0]))
    return out
