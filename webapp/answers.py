"""Probabilities → what a person reads."""

from __future__ import annotations

import base64
from typing import Any

from digits import contract as c
from digits.png import encode
from webapp.oddities import oddity

PLAUSIBLE = 0.05


def answer(image: c.Image28, probabilities: list[float], threshold: float, top: int | None = None) -> dict[str, Any]:
    """Digit, confidence, second thought and a sentence for one row of probabilities.

    image: what the model saw; threshold: the artifact's, below which the sentence says that it is not sure; top: how many of
    the best digits to list besides.
    """
    order = sorted(range(c.CLASSES), key=probabilities.__getitem__, reverse=True)
    first, second = order[0], order[1]
    confidence = probabilities[first]
    odd = oddity(image)
    sure = confidence >= threshold and odd is None
    made: dict[str, Any] = {
        "digit": first,
        "confidence": round(confidence, 4),
        "sure": sure,
        "second": {"digit": second, "confidence": round(probabilities[second], 4)},
        "probabilities": [round(p, 5) for p in probabilities],
        "sentence": odd.value if odd is not None else sentence(first, second, probabilities[second], sure),
        "image": seen(image),
    }
    if odd is not None:
        made["note"] = odd.name.lower()
    if top is not None:
        made["top"] = [{"digit": digit, "confidence": round(probabilities[digit], 4)} for digit in order[:top]]
    return made


def sentence(first: int, second: int, second_confidence: float, sure: bool) -> str:
    """Say it, and say how sure."""
    article, other = _article(first), _article(second)
    if not sure:
        return f"I am not sure: {article} {first}, perhaps {other} {second}."
    if second_confidence >= PLAUSIBLE:
        return f"This is {article} {first}. It could also be {other} {second}."
    return f"This is {article} {first}."


def _article(digit: int) -> str:
    return "an" if digit == 8 else "a"


def seen(image: c.Image28) -> str:
    """The 28×28 as a data URL: what the model saw."""
    return "data:image/png;base64," + base64.b64encode(encode(image)).decode()
