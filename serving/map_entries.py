"""Entries of a protobuf map that C++ and Python read differently: those of one key, and those with a field that nobody knows.

C++ drops the field and keeps the entry, and of one key the last entry counts.  Python's library (upb) keeps an entry with such a
field whole among the unknown fields of the message that has the map, where nobody finds it and its place in the row is lost.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from digits import wire
from serving import messages
from serving.turns import pass_on

_INPUT, _OWN_TAGS = 0x12, b"\x0a\x12\x1a"  # of PredictRequest's fields
_FEW = 64


def has_unknown(message: Any) -> bool:
    """Whether entries of the message's map may be among what it does not know."""
    return len(UnknownFieldSet(message)) > 0


def put_in_order(message: Any, field: str, twin: Any) -> None:
    """Fill the map `field` anew with what C++ reads in it.

    twin: the same message, of a kind that has the map as a list of its entries and knows nothing else.
    """
    others = type(twin)()  # what it does not know is as it came, and is read once more
    others.CopyFrom(twin)
    others.ClearField(field)
    message.Clear()
    message.MergeFromString(others.SerializeToString())
    entries = getattr(message, field)
    for entry in getattr(twin, field):
        if isinstance(entry.value, int):
            entries[entry.key] = entry.value
        else:
            entries[entry.key].CopyFrom(entry.value)


def as_in_order(request: Any, data: bytes) -> Any:
    """What C++ reads in a PredictRequest's bytes where that is not what `request` has, the same read here; else None.

    Both are of digits.fast.PredictRequest.  Raises DecodeError for an entry that is none, though a later one has its key.
    """
    if _plain_entries(data) == len(request.inputs):
        return None
    pass_on()
    entries = messages.InputEntries.FromString(data).entry
    if len(entries) == len(request.inputs):
        return None
    exact = wire.PredictRequest.FromString(data)
    exact.inputs.clear()
    for entry in map(messages.InputEntry.FromString, entries):
        exact.inputs[entry.key].CopyFrom(entry.value)
    return messages.PredictRequest.FromString(exact.SerializeToString())


def _plain_entries(data: bytes) -> int:
    """How many inputs a PredictRequest's bytes have; -1 where that takes a parser.  The bytes have been parsed before."""
    at = entries = 0
    end = len(data)
    for _ in range(_FEW):
        if at == end:
            return entries
        tag = data[at]
        if tag not in _OWN_TAGS:
            return -1
        size = data[at + 1]
        at += 2
        if size >= 0x80:
            size, shift = size & 0x7F, 7
            while (byte := data[at]) >= 0x80:
                size |= (byte & 0x7F) << shift
                at, shift = at + 1, shift + 7
            size |= byte << shift
            at += 1
        if tag == _INPUT:
            entries += 1
        at += size
    return -1
