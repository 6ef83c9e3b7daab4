"""How much a probability may be believed: temperature, expected calibration error, the threshold.

Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from digits.contract import Probabilities
from training.data import Labels

BINS = 15
WANTED_ACCURACY = 0.999
"""Of the answers given without doubt, this share should be right on held-out data."""

SMALLEST = 1e-30
"""Probabilities are held above it before their logarithm is taken; float32 still knows it."""


def tempered(p: Probabilities, temperature: float) -> Probabilities:
    """Probabilities of the logits divided by the temperature; [N, 10]."""
    logits = np.log(np.maximum(p, SMALLEST)) / temperature
    logits -= logits.max(axis=1, keepdims=True)
    e = np.exp(logits)
    out: Probabilities = (e / e.sum(axis=1, keepdims=True)).astype(np.float32)
    return out


def nll(p: Probabilities, labels: Labels) -> float:
    """Mean negative log-likelihood, nats."""
    return float(-np.log(np.maximum(p[np.arange(len(labels)), labels], SMALLEST)).mean())


def fit_temperature(p: Probabilities, labels: Labels) -> float:
    """The temperature in 0.25 to 4 with the least negative log-likelihood on held-out answers."""
    low, high = np.log(0.25), np.log(4.0)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(60):  # golden-section search: the likelihood has one valley in log T
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if nll(tempered(p, float(np.exp(a))), labels) < nll(tempered(p, float(np.exp(b))), labels):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


@dataclass(frozen=True)
class Reliability:
    """The calibration diagram: per bin of confidence its mean confidence, accuracy and count."""

    confidence: list[float]
    accuracy: list[float]
    count: list[int]
    error: float  # expected calibration error


def reliability(p: Probabilities, labels: Labels) -> Reliability:
    """Expected calibration error over 15 equal bins of confidence."""
    top, right = p.max(axis=1), p.argmax(axis=1) == labels
    which = np.minimum((top * BINS).astype(int), BINS - 1)
    count = np.bincount(which, minlength=BINS)
    mean = np.bincount(which, top, BINS) / np.maximum(count, 1)
    accuracy = np.bincount(which, right, BINS) / np.maximum(count, 1)
    error = float((np.abs(mean - accuracy) * count).sum() / len(labels))
    return Reliability(mean.tolist(), accuracy.tolist(), count.tolist(), error)


@dataclass(frozen=True)
class Threshold:
    """Below `value` the answer is called unsure; what that costs and buys on held-out data."""

    value: float
    unsure: float  # share of all answers
    doubted_right: float  # share of right answers that are called unsure
    caught_wrong: float  # share of wrong answers that are called unsure
    accuracy_above: float


def choose_threshold(p: Probabilities, labels: Labels) -> Threshold:
    """The lowest confidence above which WANTED_ACCURACY of the held-out answers are right, within 0.5 and 0.99."""
    top, right = p.max(axis=1), p.argmax(axis=1) == labels
    order = np.argsort(-top)
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(accuracy >= WANTED_ACCURACY)
    lowest = float(np.clip(top[order][good[-1]] if len(good) else 0.99, 0.5, 0.99))
    value = math.ceil(lowest * 1000) / 1000  # as it will be applied
    above = top >= value
    return Threshold(
        value=value,
        unsure=float((~above).mean()),
        doubted_right=float((~above & right).sum() / max(right.sum(), 1)),
        caught_wrong=float((~above & ~right).sum() / max((~right).sum(), 1)),
        accuracy_above=float(right[above].mean()) if above.any() else 1.0,
    )
