"""TensorProto ↔ tensors, as TensorFlow's own Tensor::FromProto and AsProtoField read and write.

Requests arrive as digits.fast.Tensor: the same bytes, with packed floats left whole for numpy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from digits import wire
from serving import messages
from serving.status import Code, Status
from serving.tensors import BOOL, FLOAT, KINDS, NO_HANDLE, RESOURCE, STRING, VARIANT, Array, Kind, Tensor, handle
from serving.turns import pass_on

MAX_DIMENSIONS = 254
MAX_EXPANDED_BYTES = 2**31 - 1
"""A shape may claim more elements than values were sent (the last is repeated), but not without end."""
LONG_TO_EXPAND = 2**16
"""Elements beyond the values sent that may keep a thread busy: the message that claims them may be ever so short."""
_PACKED: dict[str, np.dtype[Any]] = {"float_val": np.dtype("<f4"), "double_val": np.dtype("<f8")}


class Unreadable(Exception):
    """The TensorProto does not parse; the caller knows its alias."""


def read(proto: Any) -> Tensor:
    """Read a digits.fast.Tensor.  Raises Unreadable.

    Of a variant only the dtype, of a resource also how error texts name it: no model can be fed one.
    """
    kind, shape = KINDS.get(proto.dtype), _shape(proto.tensor_shape)
    count = math.prod(shape)
    if kind is None:
        if proto.dtype not in (RESOURCE, VARIANT):
            raise Unreadable
        return handle(proto.dtype, _handles(proto, count), shape)
    if not count:
        return Tensor.of(kind.number, np.empty(0, kind.storage), shape)
    if proto.tensor_content:
        return Tensor.of(kind.number, _from_content(kind, proto.tensor_content, count), shape)
    packed = _PACKED.get(kind.field)
    if packed is not None:
        chunks = getattr(proto, kind.field)
        if len(chunks) == 1 and len(chunks[0]) == count * packed.itemsize:
            return Tensor.of(kind.number, np.frombuffer(chunks[0], packed), shape)
    return Tensor.of(kind.number, _from_values(kind, proto, count), shape)


def _shape(proto: Any) -> tuple[int, ...]:
    """A missing shape is a scalar, and so is one that says only that its rank is unknown."""
    shape = tuple(dim.size for dim in proto.dim)
    if len(shape) > MAX_DIMENSIONS or any(size < 0 for size in shape):
        raise Unreadable
    product = 1
    for size in shape:  # upstream multiplies from the left and minds the overflow on the way
        product *= size
        if product >= 2**63:
            raise Unreadable
    return shape


def _from_content(kind: Kind, content: bytes, count: int) -> Array:
    if kind.number == STRING:
        return _strings(content, count)
    if len(content) != count * kind.storage.itemsize or (kind.number == BOOL and max(content) > 1):
        raise Unreadable
    return np.frombuffer(content, kind.storage)


def _strings(content: bytes, count: int) -> Array:
    """Varint lengths of all strings, then their bytes."""
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if at >= len(content) or shift > 28:
                raise Unreadable
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length & 0xFFFFFFFF)
    if at + sum(lengths) != len(content):
        raise Unreadable
    out = np.empty(count, object)
    for index, length in enumerate(lengths):
        out[index] = content[at : at + length]
        at += length
    return out


def _exact(fast: Any) -> Any:
    """The TensorProto with all its fields.  Raises Status."""
    try:
        return wire.TensorProto.FromString(fast.SerializeToString())  # the fast form keeps what it does not know
    except DecodeError:
        raise Status(Code.INTERNAL, "") from None  # as for any bytes that are not the message


def _handles(fast: Any, count: int) -> str:
    """What error texts say of a resource; of a variant nothing, which must be an empty one to be read at all."""
    if fast.tensor_content and count:
        if len(fast.tensor_content) != count or any(fast.tensor_content):  # as many lengths of 0
            raise Unreadable
        return NO_HANDLE
    exact = _exact(fast)
    if any(one.type_name or one.metadata or one.tensors for one in exact.variant_val[:count]):
        raise Unreadable
    named = (f"{one.hash_code}(name: {one.name} type: {one.maybe_type_name})" for one in exact.resource_handle_val[:count])
    return next(named, NO_HANDLE)


def _from_values(kind: Kind, fast: Any, count: int) -> Array:
    """Read a *_val field: too few values repeat the last, too many are dropped, none are zeros."""
    proto = _exact(fast)
    values = list(getattr(proto, kind.field))[: count * _parts(kind)]
    if count * max(kind.storage.itemsize, 8) > MAX_EXPANDED_BYTES and len(values) < count:
        raise Unreadable
    if count - len(values) > LONG_TO_EXPAND:
        pass_on()
    if kind.number == STRING:
        out = np.empty(count, object)
        last = values[-1] if values else b""
        for at in range(0, count, LONG_TO_EXPAND):  # numpy lets nobody else run while it copies objects
            out[at : at + LONG_TO_EXPAND] = last
        out[: len(values)] = values
        return out
    if kind.storage.kind == "c":
        part = np.float32 if kind.field == "scomplex_val" else np.float64
        numbers: Array = np.array(values[: len(values) // 2 * 2], part).view(kind.storage)
    elif kind.storage.kind in "iu":
        wide = np.uint64 if kind.field == "uint64_val" else np.int64
        numbers = np.array(values, wide).astype(kind.storage)  # wraps, as a C++ cast does
    else:
        numbers = np.array(values, kind.storage)
    array = np.zeros(count, kind.storage)
    if len(numbers):
        array[:] = numbers[-1]
        array[: len(numbers)] = numbers
    return array


def _parts(kind: Kind) -> int:
    return 2 if kind.storage.kind == "c" else 1


def write(tensor: Tensor, into: Any, as_content: bool = False) -> None:
    """Fill a digits.fast.Tensor (floats) or any TensorProto with every value of a tensor."""
    kind, array = KINDS[tensor.dtype], tensor.array
    into.dtype = tensor.dtype
    into.tensor_shape.SetInParent()
    for size in tensor.dims:
        into.tensor_shape.dim.add().size = size
    if not array.size:
        return
    if as_content:
        into.tensor_content = _content(kind, array)
    elif tensor.dtype == FLOAT:
        into.float_val.append(np.ascontiguousarray(array, "<f4").tobytes())
    elif kind.field == "double_val":
        into.double_val.append(np.ascontiguousarray(array, "<f8").tobytes())
    elif tensor.dtype == STRING:
        into.string_val.extend(array.ravel().tolist())
    else:
        exact = messages.TensorProto()
        if kind.field == "float8_val":
            exact.float8_val = array.tobytes()
        elif kind.storage.kind == "c":
            part = np.float32 if kind.field == "scomplex_val" else np.float64
            getattr(exact, kind.field).extend(np.ascontiguousarray(array).view(part).ravel().tolist())
        else:
            getattr(exact, kind.field).extend(_narrowed(kind, array).ravel().tolist())
        into.MergeFromString(exact.SerializeToString())


_NARROW = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2}


def _narrowed(kind: Kind, array: Array) -> Array:
    """Of integers of fewer than eight bits, which TensorFlow keeps in a byte each, the bits that count."""
    bits = _NARROW.get(kind.name)
    if bits is None:
        return array
    low = array.view(np.uint8).astype(np.int64) & ((1 << bits) - 1)
    return low - ((low >> (bits - 1)) << bits) if kind.storage.kind == "i" else low


def _content(kind: Kind, array: Array) -> bytes:
    if kind.number != STRING:
        return np.ascontiguousarray(array).tobytes()
    strings = array.ravel().tolist()
    lengths = bytearray()
    for text in strings:
        size = len(text)
        while size >= 0x80:
            lengths.append(size & 0x7F | 0x80)
            size >>= 7
        lengths.append(size)
    return bytes(lengths) + b"".join(strings)
