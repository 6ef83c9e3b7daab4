"""Number literals as RapidJSON 1.1.0 reads them: exact integers up to 64 bits, doubles the fast way."""

from __future__ import annotations

import re

MAX_INT64, MAX_UINT64 = 2**63 - 1, 2**64 - 1
MAX_EXPONENT = 308  # of a double in decimal
BIGGEST_TO_EXTEND = 1.7976931348623157e307  # one more digit would overflow
SMALLEST_NORMAL = 2.2250738585072014e-308
SHORT = 16  # digits fewer than this are exact in a double
_POWERS = tuple(float(f"1e{n}") for n in range(MAX_EXPONENT + 1))  # 10.0**23 is not 1e23
_WHOLE = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"\.([0-9]*)")
_EXPONENT = re.compile(rb"[eE]([+-]?)0*([0-9]*)")


class BadNumber(Exception):
    """What is wrong with a literal, and where in the document."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason, at)
        self.reason, self.at = reason, at


def number(data: bytes, start: int) -> tuple[int | float, int]:
    """Read the literal at `start`; returns its value and where it ends.  Raises BadNumber.

    A literal whose last digit carries it past the largest double is infinity, as upstream has it; one whose exponent does so is
    refused.
    """
    whole = _WHOLE.match(data, start)
    if whole is None:
        raise BadNumber("Invalid value.", start + data.startswith(b"-", start))
    at, exponent = whole.end(), 0
    if len(whole[0]) < SHORT and data[at : at + 1] not in (b".", b"e", b"E"):
        return int(whole[0]), at
    negative = whole[0].startswith(b"-")
    digits = whole[0][negative:]
    gathered, used = _integer(digits, MAX_INT64 + 1 if negative else MAX_UINT64)
    value = float(gathered)
    for digit in digits[used:]:
        if value >= BIGGEST_TO_EXTEND:
            raise BadNumber("Number too big to be stored in double.", start)
        value = value * 10 + (digit - 0x30)
    is_integer, significant = used == len(digits), used - 1
    if part := _FRACTION.match(data, at):
        is_integer, at = False, part.end()
        if not part[1]:
            raise BadNumber("Miss fraction part in number.", at)
        if len(digits) + len(part[1]) < SHORT:
            value, exponent = float(digits + part[1]), -len(part[1])
        else:
            value, exponent = _with_fraction(None if used < len(digits) else gathered, value, part[1], significant)
    if part := _EXPONENT.match(data, at):
        is_integer, at = False, part.end()
        if part[0][-1:] not in b"0123456789":
            raise BadNumber("Miss exponent in number.", at)
        shift = int(part[2][:9] or b"0")
        if part[1] != b"-" and shift > MAX_EXPONENT - exponent:
            raise BadNumber("Number too big to be stored in double.", start)
        exponent += -shift if part[1] == b"-" else shift
    if is_integer:
        return -gathered if negative else gathered, at
    value = _scaled(value, exponent)
    return -value if negative else value, at


def _integer(digits: bytes, limit: int) -> tuple[int, int]:
    """As many of the digits as stay within the limit, and how many those are."""
    used = min(len(digits), 20)
    while (value := int(digits[:used])) > limit:
        used -= 1
    return value, used


def _with_fraction(gathered: int | None, value: float, fraction: bytes, significant: int) -> tuple[float, int]:
    """Append the fraction's digits: to an integer of 53 bits, then to a double until there are 17 that count.

    Returns the value without its decimal point, and the power of ten that puts it back.
    """
    places = 0
    if gathered is not None:
        while places < len(fraction) and gathered < 2**53:
            gathered = gathered * 10 + fraction[places] - 0x30
            significant += gathered != 0
            places += 1
        value = float(gathered)
    while places < len(fraction) and significant < 17:
        value = value * 10 + (fraction[places] - 0x30)
        significant += value > 0
        places += 1
    return value, -places


def _scaled(value: float, exponent: int) -> float:
    """value × 10^exponent in one rounding, which may be off in the last place; subnormals are flushed to zero."""
    if exponent < -MAX_EXPONENT:
        value, exponent = value / _POWERS[MAX_EXPONENT], exponent + MAX_EXPONENT
        if exponent < -MAX_EXPONENT:
            return 0.0
    value = value * _POWERS[exponent] if exponent >= 0 else value / _POWERS[-exponent]
    return value if value >= SMALLEST_NORMAL else 0.0
