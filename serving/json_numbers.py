"""Number literals as RapidJSON reads them: exact integers up to 64 bits, doubles the fast way."""

from __future__ import annotations

import re

MAX_DOUBLE = 1.7976931348623157e308
_WHOLE = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"\.([0-9]*)")
_EXPONENT = re.compile(rb"[eE]([+-]?)([0-9]*)")


class BadNumber(Exception):
    """What is wrong with a literal, and where in the document."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason, at)
        self.reason, self.at = reason, at


def number(data: bytes, start: int) -> tuple[int | float, int]:
    """Read the literal at `start`; returns its value and where it ends.  Raises BadNumber."""
    whole = _WHOLE.match(data, start)
    if whole is None:
        raise BadNumber("Invalid value.", start)
    at, fraction, exponent = whole.end(), None, None
    if part := _FRACTION.match(data, at):
        fraction, at = part[1], part.end()
        if not fraction:
            raise BadNumber("Miss fraction part in number.", at)
    if part := _EXPONENT.match(data, at):
        exponent, at = part, part.end()
        if not part[2]:
            raise BadNumber("Miss exponent in number.", at)
    if fraction is None and exponent is None:
        integer = int(whole[0]) if len(whole[0]) < 25 else 2**64
        if -(2**63) <= integer < 2**64:
            return integer, at
    power = 0 if exponent is None else int(exponent[2][:9]) * (-1 if exponent[1] == b"-" else 1)
    digits = len(whole[0]) + len(fraction or b"")
    if digits <= 15 and abs(power - len(fraction or b"")) <= 22:
        value = float(data[start:at])  # both powers of ten and digits are exact in a double
    else:
        value = _fast_double(whole[0], fraction or b"", power)
    if abs(value) > MAX_DOUBLE:
        raise BadNumber("Number too big to be stored in double.", start)
    return value, at


def _fast_double(whole: bytes, fraction: bytes, power: int) -> float:
    """RapidJSON's quick reading of a long literal: at most the last place is off, subnormals are zero.

    Digits are gathered in 64 bits while they fit, then in a double; one power of ten scales them.
    """
    negative = whole.startswith(b"-")
    digits = whole.lstrip(b"-")
    value, exponent, significant = 0.0, power, 0
    gathered, used = 0, 0
    limit = 922337203685477580 if negative else 1844674407370955161
    for digit in digits:
        if gathered >= limit and (gathered != limit or digit > (0x38 if negative else 0x35)):
            break
        gathered = gathered * 10 + digit - 0x30
        significant += gathered > 0
        used += 1
    if used < len(digits):
        value = float(gathered)
        for digit in digits[used:]:
            value = value * 10 + (digit - 0x30)
        rest = fraction
    else:
        taken = 0
        for digit in fraction:
            if gathered > 0x1FFFFFFFFFFFFF:
                break
            gathered = gathered * 10 + digit - 0x30
            exponent -= 1
            significant += gathered != 0
            taken += 1
        value, rest = float(gathered), fraction[taken:]
    for digit in rest:
        if significant < 17:
            value = value * 10 + (digit - 0x30)
            exponent -= 1
            significant += value > 0
    if value and exponent < -308 - 340:
        value = 0.0
    elif exponent < -308:
        value = value / 1e308
        value = value / 10.0 ** -(exponent + 308) if exponent + 308 >= -308 else 0.0
    elif exponent >= 0:
        value = value * 10.0**exponent if exponent <= 308 else (float("inf") if value else 0.0)
    else:
        value = value / 10.0**-exponent
    if abs(value) < 2.2250738585072014e-308:
        value = 0.0
    return -value if negative else value
