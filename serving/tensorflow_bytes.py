"""Serialized messages read where TensorFlow left them: a graph's constants may be hundreds of megabytes that nobody asks for."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

SIZES = {1: 8, 5: 4}
"""Bytes of a wire type that is always as long."""


def view(buffer: Any) -> memoryview:
    """A TF_Buffer's bytes, which end with it."""
    length = buffer.contents.length
    return memoryview((ctypes.c_ubyte * length).from_address(buffer.contents.data)).cast("B") if length else memoryview(b"")


def fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Each field's number, all its bytes, and those after its tag and its length."""
    at = 0
    while at < len(message):
        tag, begins = _varint(message, at)
        if tag & 7 == 2:
            length, begins = _varint(message, begins)
            ends = begins + length
        else:
            ends = begins + SIZES[tag & 7] if tag & 7 else _varint(message, begins)[1]
        yield tag >> 3, message[at:ends], message[begins:ends]
        at = ends


def contents(message: memoryview, number: int) -> Iterator[memoryview]:
    """What each of the fields of this number holds."""
    return (content for found, _, content in fields(message) if found == number)


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number, and where what follows it begins."""
    value = shift = 0
    while (byte := message[at]) & 0x80:
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | byte << shift, at + 1
