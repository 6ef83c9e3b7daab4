"""A token bucket for each client's address."""

from __future__ import annotations

import math
from dataclasses import replace

from webapp import problems
from webapp.incoming import Refused

MAX_CLIENTS = 10_000


class Rates:
    """Allows `per_second` requests a second to each client, and a second's worth at once; 0 = no limit.

    Each worker counts for itself: a client with connections to all of them gets as many times as much.
    """

    def __init__(self, per_second: float) -> None:
        self.limited = per_second > 0
        pause_s = max(1, math.ceil(1 / per_second)) if self.limited else 1  # then one more is allowed
        got = f"got more than {per_second:g} requests a second from one address"
        self.refusal = Refused(replace(problems.TOO_MANY, retry_after_s=pause_s), got, "rate")
        self._rate = per_second
        self._buckets: dict[str, tuple[float, float]] = {}

    def allow(self, client: str, now: float) -> bool:
        """Whether one more request of this client's is within its rate."""
        most = max(self._rate, 1.0)
        tokens, then = self._buckets.pop(client, (most, now))
        tokens = min(most, tokens + (now - then) * self._rate)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - allowed, now)  # put last: the first is who was silent longest
        if len(self._buckets) > MAX_CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        return allowed
