"""When the next request is due: at once (closed loop), or by a schedule that no answer can delay (open loop).

All users of a generator share one schedule.  A user takes the next slot, sleeps until it is due and
sends.  If every user is still waiting for an answer when a slot comes due, it is taken late, and its
latency counts from the moment it was due: queueing in front of the deployment is measured, not hidden.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field

from gevent.event import Event

TIMER_S = 0.0005
"""Sleeps end up to a millisecond late, so they aim half of one early."""


@dataclass(frozen=True)
class Beat:
    """How requests follow one another during a phase, in one process.

    phase: its number; kind: the request's name; users: how many take part; rate: requests a second, None = closed loop, 0 = rest.
    """

    phase: int = -1
    kind: str = ""
    users: int = 1_000_000
    rate: float | None = 0.0
    poisson: bool = False
    began: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Slot:
    """Leave to send one request.  due: on time.perf_counter's clock."""

    beat: Beat
    due: float

    @property
    def second(self) -> int:
        """The second of its phase."""
        return int(max(self.due - self.beat.began, 0))


class Pace:
    """The schedule of one generator process."""

    def __init__(self) -> None:
        self._beat = Beat()
        self._next = 0.0
        self._changed = Event()

    @property
    def resting(self) -> bool:
        """Whether nothing is to be sent."""
        return self._beat.rate == 0

    def left(self) -> tuple[int, Counter[int]]:
        """Give up the slots that came due and that nobody took: the phase, and how many by its seconds."""
        beat, now, by_second = self._beat, time.perf_counter(), Counter[int]()
        while beat.rate and self._next < now:
            by_second[int(self._due(beat) - beat.began)] += 1
        return beat.phase, by_second

    def set(self, beat: Beat) -> None:
        """Begin a phase."""
        before, self._changed = self._changed, Event()
        self._beat, self._next = beat, beat.began
        before.set()  # slots of the phase before are given back

    def take(self, user: int) -> Slot:
        """Wait for the next slot and take it.  user: number of the user in this process."""
        while True:
            beat, changed = self._beat, self._changed
            if user >= beat.users or (beat.rate is not None and beat.rate <= 0):
                changed.wait()
                continue
            if beat.rate is None:
                return Slot(beat, time.perf_counter())
            due = self._due(beat)
            ahead = due - time.perf_counter()
            if ahead > TIMER_S and changed.wait(ahead - TIMER_S):
                continue
            return Slot(beat, due)

    def _due(self, beat: Beat) -> float:
        due = self._next
        assert beat.rate
        self._next += random.expovariate(beat.rate) if beat.poisson else 1 / beat.rate
        return due
