"""How long runs took of late."""

from __future__ import annotations

import math

QUICK_S = 0.02
"""A run this short gains nothing from a pool of threads for its operations: a small network loses a third of its time to it."""
PATIENCE = 10
"""In the caller's thread nothing ends a run before it is through: it must fit so many times into the time it is given."""


class Pace:
    """How long runs of one plan and one size took of late: the longest, forgotten by a hundredth each run.  Seconds."""

    def __init__(self) -> None:
        self._longest = math.inf  # nothing is known before the first

    def is_quick(self, timeout_s: float | None) -> bool:
        """Whether the next may stay in the caller's thread."""
        return self._longest <= QUICK_S and (timeout_s is None or self._longest * PATIENCE <= timeout_s)

    def took(self, seconds: float) -> None:
        """One has ended."""
        self._longest = seconds if self._longest == math.inf else max(seconds, 0.99 * self._longest)
