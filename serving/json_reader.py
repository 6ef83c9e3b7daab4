"""JSON as TensorFlow Serving reads it: RapidJSON with NaN and Inf, stopping after the first value.

Python's own reader differs in what it accepts, in its depth, in repeated keys and in its errors.
A document may be as deep as it likes, but not hold so many lists and objects that their 100 to 200 bytes each fill the memory.
Documents of plain numbers, the bulk of all bytes, go through orjson all the same.

Values: dict (keys str, undecodable bytes as surrogates; the first of repeated keys counts), list, bytes for strings, int, float,
bool, None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import orjson

from serving.json_numbers import BadNumber, number

MAX_CONTAINERS = 4_000_000
QUICK_BEYOND, EXACT_UP_TO = 512, 65_536  # bytes
_SPACE = re.compile(rb"[ \t\n\r]*")
_PLAIN_STRING = re.compile(rb'[^"\\\x00-\x1f]*')
_WORDS = ((b"true", True), (b"false", False), (b"null", None))
_INEXACT = re.compile(rb"[0-9.]{17}|[0-9][eE]")
_HUGE_ZERO = re.compile(rb"0[eE]\+?0*[1-9][0-9]{2}")
_ESCAPES = {0x22: b'"', 0x5C: b"\\", 0x2F: b"/", 0x62: b"\b", 0x66: b"\f", 0x6E: b"\n", 0x72: b"\r", 0x74: b"\t"}


class BadJson(Exception):
    """The text upstream gives after `JSON Parse error: `."""


class Repeated(dict[str, Any]):
    """An object in which a key occurs twice: the first value of each key, and beside it all members in order."""

    members: list[tuple[str, Any]]


def members(value: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Every member of an object, repeated ones included."""
    return value.members if isinstance(value, Repeated) else value.items()


def read(data: bytes) -> Any:
    """Parse the first value of a document.  Raises BadJson.

    In long documents a number is the double nearest to its literal; `read_exactly` says where that is not RapidJSON's.
    """
    if not data:
        raise BadJson("The document is empty")
    quick = _quick(data) if len(data) > QUICK_BEYOND else None
    return _Reader(data).document() if quick is None else quick


def read_exactly(data: bytes, document: Any) -> Any:
    """The document just read from data, every double to the last bit RapidJSON's, in documents of up to EXACT_UP_TO bytes.

    RapidJSON rounds literals of 17 digits or with an exponent by steps.  Such documents are read again at a seventieth of the
    speed, some 20 ms at most; in larger ones the double nearest to the literal is as good.
    """
    again = QUICK_BEYOND < len(data) <= EXACT_UP_TO and _INEXACT.search(data) is not None
    return _Reader(data).document() if again else document


def _quick(data: bytes) -> dict[str, Any] | None:
    """Read an object of numbers with orjson; None if anything about it needs the careful reader."""
    if b"true" in data or b"false" in data or b"null" in data or b"\\" in data:
        return None
    if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS:  # or some of them are in strings: the careful reader tells
        return None
    if (b"0e" in data or b"0E" in data) and _HUGE_ZERO.search(data):  # 0e999, which RapidJSON refuses
        return None
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    strings = len(document)
    signature = document.get("signature_name")
    if isinstance(signature, str):
        document["signature_name"] = signature.encode()
        strings += 1
    for value in document.values():
        if isinstance(value, dict):
            strings += len(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            strings += sum(len(item) for item in value if isinstance(item, dict))
    # every quote belongs to a key seen once, or there are strings among the values
    return document if data.count(b'"') == 2 * strings else None


class _Reader:
    """A careful reader without recursion: depth is limited by memory only."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        for mark in (b"\xef", b"\xbb", b"\xbf"):  # each byte of the mark is skipped by itself
            self._take(mark)

    def document(self) -> Any:
        self._skip()
        if self._data[self._at : self._at + 1] in (b"", b"\0", b"]", b"}", b",", b":"):
            raise self._error("The document is empty.")
        containers: list[dict[str, Any] | list[Any]] = []
        keys: list[str] = []
        count = 0
        while True:
            opened = self._data[self._at : self._at + 1]
            if opened in (b"{", b"["):
                count += 1
                if count > MAX_CONTAINERS:
                    raise self._error(f"More than {MAX_CONTAINERS} lists and objects.")
                self._at += 1
                self._skip()
                new: dict[str, Any] | list[Any] = {} if opened == b"{" else []
                if self._take(b"}" if opened == b"{" else b"]"):
                    value: Any = new
                else:
                    containers.append(new)
                    keys.append(self._key() if opened == b"{" else "")
                    continue
            else:
                value = self._scalar()
            while containers:  # put the value where it belongs and see what follows
                top = containers[-1]
                if isinstance(top, dict):
                    if keys[-1] in top and not isinstance(top, Repeated):
                        containers[-1] = top = _repeated(top)
                    top.setdefault(keys[-1], value)
                    if isinstance(top, Repeated):
                        top.members.append((keys[-1], value))
                else:
                    top.append(value)
                self._skip()
                if self._take(b","):
                    self._skip()
                    if isinstance(top, dict):
                        keys[-1] = self._key()
                    break
                if not self._take(b"}" if isinstance(top, dict) else b"]"):
                    if isinstance(top, dict):
                        raise self._error("Missing a comma or '}' after an object member.")
                    raise self._error("Missing a comma or ']' after an array element.")
                value = containers.pop()
                keys.pop()
            else:
                return value

    def _key(self) -> str:
        if self._data[self._at : self._at + 1] != b'"':
            raise self._error("Missing a name for object member.")
        key = self._string().decode("utf-8", "surrogateescape")
        self._skip()
        if not self._take(b":"):
            raise self._error("Missing a colon after a name of object member.")
        self._skip()
        return key

    def _scalar(self) -> Any:
        data, at = self._data, self._at
        if data.startswith(b'"', at):
            return self._string()
        for word, value in _WORDS:
            if data.startswith(word[:1], at):
                self._expect(word)
                return value
        if data[at + data.startswith(b"-", at) :][:1] in (b"N", b"I"):
            return self._special()
        return self._number()

    def _expect(self, word: bytes) -> None:
        if not self._took(word):
            raise self._error("Invalid value.")

    def _took(self, word: bytes) -> bool:
        """Step over as much of the word as is there; whether that was all."""
        return all(self._take(word[i : i + 1]) for i in range(len(word)))

    def _special(self) -> float:
        """NaN or an infinity, in all the forms that pass: what failed as NaN may go on as Inf, a fraction or exponent counts."""
        start = self._at
        negative = self._take(b"-")
        value = float("nan")
        if not self._took(b"NaN"):
            self._expect(b"Inf")
            value = float("-inf" if negative else "inf")
            if self._data.startswith(b"i", self._at):
                self._expect(b"inity")
        if self._data[self._at : self._at + 1] not in (b".", b"e", b"E"):
            return value
        zero = b"-0" if negative else b"0"
        shift = self._at - len(zero)
        try:
            value, end = number(zero + self._data[self._at :], 0)
        except BadNumber as bad:
            raise self._error(bad.reason, bad.at + shift if bad.at else start) from None
        self._at = end + shift
        return value

    def _string(self) -> bytes:
        """Read a string; the cursor is on its opening quote."""
        data = self._data
        at = self._at + 1
        end = _PLAIN_STRING.match(data, at).end()  # type: ignore[union-attr]
        if data[end : end + 1] == b'"':
            self._at = end + 1
            return data[at:end]
        pieces = []
        while True:
            end = _PLAIN_STRING.match(data, at).end()  # type: ignore[union-attr]
            pieces.append(data[at:end])
            if end >= len(data) or data[end] == 0:
                raise self._error("Missing a closing quotation mark in string.", end)
            if data[end] == 0x22:
                self._at = end + 1
                return b"".join(pieces)
            if data[end] != 0x5C:
                raise self._error("Invalid escape character in string.", end)
            escape = data[end + 1] if end + 1 < len(data) else 0
            if escape == 0x75:
                text, at = self._unicode(end)
                pieces.append(text)
            elif escape in _ESCAPES:
                pieces.append(_ESCAPES[escape])
                at = end + 2
            else:
                raise self._error("Invalid escape character in string.", end)

    def _unicode(self, at: int) -> tuple[bytes, int]:
        r"""Read \uXXXX, or a pair of them; returns its UTF-8 and where it ends."""
        code = self._hex(at, at)
        if not 0xD800 <= code < 0xDC00:  # a low surrogate alone passes, as its three bytes
            return chr(code).encode("utf-8", "surrogatepass"), at + 6
        if self._data[at + 6 : at + 8] != b"\\u":
            raise self._error("The surrogate pair in string is invalid.", at)
        low = self._hex(at + 6, at)
        if not 0xDC00 <= low < 0xE000:
            raise self._error("The surrogate pair in string is invalid.", at)
        return chr(((code - 0xD800) << 10 | (low - 0xDC00)) + 0x10000).encode(), at + 12

    def _hex(self, at: int, first: int) -> int:
        digits = self._data[at + 2 : at + 6]
        if not re.fullmatch(rb"[0-9a-fA-F]{4}", digits):
            raise self._error("Incorrect hex digit after \\u escape in string.", first)
        return int(digits, 16)

    def _number(self) -> int | float:
        try:
            value, self._at = number(self._data, self._at)
        except BadNumber as bad:
            raise self._error(bad.reason, bad.at) from None
        return value

    def _skip(self) -> None:
        self._at = _SPACE.match(self._data, self._at).end()  # type: ignore[union-attr]

    def _take(self, character: bytes) -> bool:
        if self._data.startswith(character, self._at):
            self._at += 1
            return True
        return False

    def _error(self, reason: str, at: int | None = None) -> BadJson:
        return BadJson(f"{reason} at offset: {self._at if at is None else at}")


def _repeated(plain: dict[str, Any]) -> Repeated:
    """An object so far, made ready for a key that it has."""
    made = Repeated(plain)
    made.members = list(plain.items())
    return made
