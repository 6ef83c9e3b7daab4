"""A circuit breaker: while the model server is known to be away, requests fail at once instead of waiting for it."""

from __future__ import annotations

import threading

from digits.errors import DeadlineExceeded, ModelUnavailable

OPENS_AT = 3
WEIGHTS: dict[type[BaseException], int] = {ModelUnavailable: 1, DeadlineExceeded: 2}
"""A call that never came back has already cost somebody the whole budget."""


class Circuit:
    """Opens after failures in a row; any answer closes it.  While it is open only the version watch asks the server."""

    def __init__(self) -> None:
        self._failures = 0
        self._why = ""
        self._lock = threading.Lock()

    @property
    def open(self) -> bool:
        """Whether to fail at once."""
        return self._failures >= OPENS_AT

    def check(self) -> None:
        """Raise ModelUnavailable while open."""
        if self._failures >= OPENS_AT:
            raise ModelUnavailable(f"the model server is away: {self._why}", "the model server is away")

    def succeeded(self) -> None:
        """The server answered, with whatever."""
        if self._failures:
            with self._lock:
                self._failures = 0

    def failed(self, error: BaseException) -> None:
        """Count an error that says that the server is not there; others say that it is."""
        weight = WEIGHTS.get(type(error), 0)
        if not weight:
            self.succeeded()
            return
        with self._lock:
            self._failures += weight
            self._why = str(error)
