"""Readings as a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from typing import TextIO

from digits import contract as c
from digits.cli_sources import Reading


def table(readings: Sequence[Reading], out: TextIO) -> None:
    """Aligned columns for people."""
    names = [_printable(one.name) for one in readings]
    width = max(map(len, names))
    for name, one in zip(names, readings, strict=True):
        found = _printable(one.error) or f"{one.digit}  {max(one.probabilities):7.2%}{_doubt(one)}"
        print(f"{name:<{width}}  {found}", file=out)


def _doubt(one: Reading) -> str:
    if one.note:
        return f"  no single digit: {_printable(one.note)}"
    return "  not sure" if one.sure is False else ""


def _printable(text: str) -> str:
    """Without what a terminal would obey; bytes that are no text are escaped when they are written."""
    return "".join(ch if ch.isprintable() or "\ud800" <= ch <= "\udfff" else "�" for ch in text)


def as_json(readings: Sequence[Reading], out: TextIO) -> None:
    """A list of objects."""
    rows = [
        {"file": one.name, "error": one.error}
        if one.error
        else {
            "file": one.name, "digit": one.digit, "confidence": max(one.probabilities), "sure": one.sure, "note": one.note,
            "probabilities": one.probabilities,
        }
        for one in readings
    ]  # fmt: skip
    json.dump(rows, out, indent=1)
    print(file=out)


def as_csv(readings: Sequence[Reading], out: TextIO) -> None:
    """A header and a row a file."""
    writer = csv.writer(out)
    writer.writerow(["file", "digit", "confidence", "sure", "note", *(f"p{digit}" for digit in range(c.CLASSES)), "error"])
    for one in readings:
        sure = "" if one.sure is None else str(one.sure).lower()
        found = (
            [one.digit, max(one.probabilities), sure, one.note, *one.probabilities] if not one.error else [""] * (4 + c.CLASSES)
        )
        writer.writerow([one.name, *found, one.error])


FORMATS: dict[str, Callable[[Sequence[Reading], TextIO], None]] = {"table": table, "json": as_json, "csv": as_csv}
