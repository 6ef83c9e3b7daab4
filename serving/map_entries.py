"""Entries of a protobuf map in which there is a field that nobody knows.

C++ drops the field and keeps the entry.  Python's library (upb) keeps such an entry whole among the unknown fields of the
message that has the map, where nobody finds it.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

LENGTH_DELIMITED = 2


def take_in(message: Any, field: str, entry_class: Any) -> bool:
    """Put such entries into the map `field`, where they win over others of the same key.  Returns whether there were any.

    entry_class: the map's entry as a message.  Raises DecodeError for an entry that is none.
    """
    unknown: Any = UnknownFieldSet(message)
    if not len(unknown):
        return False
    number = message.DESCRIPTOR.fields_by_name[field].number
    lost = [one.data for one in unknown if one.field_number == number and one.wire_type == LENGTH_DELIMITED]
    entries = getattr(message, field)
    for entry in map(entry_class.FromString, lost):
        if isinstance(entry.value, int):
            entries[entry.key] = entry.value
        else:
            entries[entry.key].CopyFrom(entry.value)
    return bool(lost)
