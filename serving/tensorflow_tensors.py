"""Tensors into TensorFlow's memory, and out of it."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from digits import wire
from serving import tensorflow_c as c
from serving.status import Code, Status
from serving.tensors import HANDLES, KINDS, STRING, Tensor

MAX_OUTPUT = 2**31
"""Protocol buffers end there."""


def to_c(lib: c.Library, tensor: Tensor, strings: list[tuple[int, int]], lasting: bool) -> int:
    """A tensor in TensorFlow's memory: a TF_Tensor*.

    strings: gets address and number of what the caller must free after the run (TF_StringDealloc); lasting: these are strings
    that the run may keep, so TensorFlow must free them itself.  Raises Status for what cannot be fed.
    """
    array = tensor.array
    if lasting and array.size:
        return _lasting_strings(lib, tensor)
    rank = len(tensor.dims)
    shape = (ctypes.c_int64 * rank)(*tensor.dims)
    if tensor.dtype == STRING:
        handle = lib.TF_AllocateTensor(STRING, shape, rank, array.size * c.STRING_BYTES)
        first = lib.TF_TensorData(handle)
        for at, value in enumerate(array.ravel().tolist()):
            lib.TF_StringInit(first + at * c.STRING_BYTES)
            lib.TF_StringCopy(first + at * c.STRING_BYTES, value, len(value))
        strings.append((first, array.size))
        return int(handle)
    if tensor.dtype in HANDLES:
        if math.prod(tensor.dims):
            raise Status(Code.UNIMPLEMENTED, f"a tensor of dtype {tensor.dtype} cannot be fed")
        return int(lib.TF_AllocateTensor(tensor.dtype, shape, rank, 0))
    array = np.asarray(array, order="C")
    handle = lib.TF_AllocateTensor(tensor.dtype, shape, rank, array.nbytes)
    if array.nbytes:
        ctypes.memmove(lib.TF_TensorData(handle), array.ctypes.data, array.nbytes)
    return int(handle)


def _lasting_strings(lib: c.Library, tensor: Tensor) -> int:
    """Strings that TensorFlow frees itself, whenever the last that kept them lets go; slower than those that we free."""
    status = lib.TF_NewStatus()
    proto = wire.TensorProto(dtype=STRING, string_val=tensor.array.ravel().tolist())
    for size in tensor.dims:
        proto.tensor_shape.dim.add().size = size
    encoded = proto.SerializeToString()
    handle = lib.TF_AllocateTensor(STRING, (ctypes.c_int64 * 1)(0), 1, 0)
    buffer = lib.TF_NewBufferFromString(encoded, len(encoded))
    try:
        lib.TF_TensorFromProto(buffer, handle, status)
        lib.check(status)
        return int(handle)
    except BaseException:
        lib.TF_DeleteTensor(handle)
        raise
    finally:
        lib.TF_DeleteBuffer(buffer)
        lib.TF_DeleteStatus(status)


def from_c(lib: c.Library, handle: int) -> Tensor:
    """Copy a TF_Tensor*.  Raises Status for one that cannot be sent."""
    dtype = lib.TF_TensorType(handle)
    shape = tuple(lib.TF_Dim(handle, axis) for axis in range(lib.TF_NumDims(handle)))
    kind = KINDS.get(dtype)
    if kind is None:
        raise Status(Code.UNIMPLEMENTED, f"a tensor of dtype {dtype} cannot leave the model")
    data, size = lib.TF_TensorData(handle), lib.TF_TensorByteSize(handle)
    if size >= MAX_OUTPUT:
        raise Status(Code.RESOURCE_EXHAUSTED, f"an output of {size:,} bytes cannot be sent; at most {MAX_OUTPUT - 1:,} can")
    if dtype == STRING:
        count = math.prod(shape)
        array = np.empty(count, object)
        for at in range(count):
            where = data + at * c.STRING_BYTES
            array[at] = ctypes.string_at(lib.TF_StringGetDataPointer(where), lib.TF_StringGetSize(where))
        return Tensor.of(dtype, array, shape)
    return Tensor.of(dtype, np.frombuffer(ctypes.string_at(data, size) if size else b"", kind.storage), shape)
