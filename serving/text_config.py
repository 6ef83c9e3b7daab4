"""Configuration files in protobuf's text format, with upstream's error texts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from digits import wire
from serving.status import Code, Status, invalid

log = logging.getLogger(__name__)


def read(path: str, message_class: Any) -> Any:
    """Parse a text-proto file.

    Raises Status: NOT_FOUND, INVALID_ARGUMENT for one of zero bytes or one that does not parse; protobuf's own complaint is
    logged.
    """
    try:
        text = Path(path).read_bytes()
    except FileNotFoundError:
        raise Status(Code.NOT_FOUND, f"{path}; No such file or directory") from None
    except OSError as exc:
        raise Status(Code.FAILED_PRECONDITION, f"{path}; {exc.strerror}") from None
    if not text:
        raise invalid(f"{path}; Invalid argument")
    message = message_class()
    try:
        text_format.Parse(text, message, descriptor_pool=wire.pool)
    except (text_format.ParseError, UnicodeDecodeError) as exc:
        name = message_class.DESCRIPTOR.full_name
        log.error("Error parsing text-format %s: %s", name, complaint(exc, text, name))
        raise invalid(f"Invalid protobuf file: '{path}'") from None
    return message


def complaint(exc: Exception, text: bytes, message_name: str) -> str:
    """Word a parse error as the C++ parser does where the two differ.

    Python reports an unknown field at its first character, C++ after reading the token behind it.
    """
    if not isinstance(exc, text_format.ParseError):
        return str(exc)
    words = str(exc).partition(" : ")[2] or str(exc)
    line, column = exc.GetLine(), exc.GetColumn()
    if 'has no field named "' in words and line and column:
        field = words.split('has no field named "')[1].split('"')[0]
        rows = text.decode(errors="replace").split("\n")
        at = line - 1, column - 1 + len(field)
        line, column = _next_token(rows, *at)
        owner = words.split('Message type "')[1].split('"')[0] if 'Message type "' in words else message_name
        return f'{line}:{column}: Message type "{owner}" has no field named "{field}".'
    return f"{line}:{column}: {words}"


def _next_token(rows: list[str], row: int, column: int) -> tuple[int, int]:
    """Line and column, from 1, of what follows; the end of the text if nothing does."""
    while row < len(rows):
        rest = rows[row][column:]
        stripped = rest.lstrip()
        if stripped:
            return row + 1, column + len(rest) - len(stripped) + 1
        row, column = row + 1, 0
    return len(rows), len(rows[-1]) + 1
