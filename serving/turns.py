"""Leader and followers (Schmidt et al. 2000): one thread waits for events and works on them; before long work another takes over.

Short work wakes nobody.  Where several threads wait at once, every event wakes one more, and each then wants the interpreter's
lock: with 64 streams and batching that left a sixth of two cores idle, and answered 3,970 requests a second for 5,170.  Under
load the thread that waits goes on waiting and hands the work to another, so that no event waits for a thread to wake.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

SPARE = 8  # threads kept for the work of guests


class Asker(Protocol):
    """Who waits for an answer; gone: waits no more."""

    gone: bool


class _Role(threading.local):
    leads: Turns | None = None
    guest = True
    asker: Asker | None = None


def serves(asker: Asker | None) -> None:
    """From now on this thread reads the request of that one, or of nobody it knows."""
    _role.asker = asker


def whose() -> Asker | None:
    """Whose request this thread reads, where that is known: what waits for a run may be dropped when that one has gone."""
    return _role.asker


_role = _Role()


def pass_on() -> None:
    """Long work begins on this thread: if it is the one that waits for events, another does from now on."""
    turns = _role.leads
    if turns is not None and turns.hand(turns.lead):
        _role.leads = None


def beside(work: Callable[[], None]) -> None:
    """Do long work: here, or on another thread where this one waits for events and has more than one of them in work."""
    turns = _role.leads
    if turns is not None:
        if turns.crowded() and turns.hand(work):
            return
        pass_on()
    work()


def elsewhere(work: Callable[[], None]) -> bool:
    """Have another thread do some work in any case; False if there can be none."""
    return _crew.hand(work)


def is_guest() -> bool:
    """Whether this thread is somebody else's, as those that bring REST's requests are: it does its own work and no more."""
    return _role.guest


class _Seat:
    """Where a thread waits for its next turn."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.work: Callable[[], None] | None = None


class Crew:
    """Threads for whatever work there is; what it raises is logged.

    spare: threads kept for their next turn; what TensorFlow prepared for a thread is lost with it.
    """

    def __init__(self, spare: int) -> None:
        self._spare = spare
        self._parked: list[_Seat] = []
        self._lock = threading.Lock()

    def hand(self, work: Callable[[], None]) -> bool:
        """Have another thread do some work; False if there can be none."""
        with self._lock:
            seat = self._parked.pop() if self._parked else None
        if seat is not None:
            seat.work = work
            seat.lock.release()
            return True
        try:
            threading.Thread(target=self._take_turns, args=(work,), name="turns", daemon=True).start()
        except RuntimeError:
            log.warning("no further thread can be started: until the work at hand is done nobody waits for requests")
            return False
        return True

    def _take_turns(self, work: Callable[[], None] | None) -> None:
        seat = _Seat()
        _role.guest = False
        while work is not None:
            try:
                work()
            except Exception:
                log.exception("a thread goes on after an unforeseen failure")
            work = None  # it holds a request
            with self._lock:
                if len(self._parked) >= self._spare:
                    return
                self._parked.append(seat)
            seat.lock.acquire()
            work, seat.work = seat.work, None


class Turns(Crew):
    """The threads of one source of events.

    step: waits for the next event and works on it; what it raises is logged.  crowded: whether more than one event is in work.
    """

    def __init__(self, step: Callable[[], None], crowded: Callable[[], bool], spare: int) -> None:
        super().__init__(spare)
        self._step, self.crowded = step, crowded

    def start(self) -> None:
        """Begin to wait, on a thread of its own."""
        threading.Thread(target=self._take_turns, args=(self.lead,), name="turns", daemon=True).start()

    def lead(self) -> None:
        """Wait for events and work on them until another does (pass_on)."""
        _role.leads = self
        while _role.leads is self:
            try:
                self._step()
            except Exception:
                log.exception("a thread goes on after an unforeseen failure")


_crew = Crew(SPARE)
