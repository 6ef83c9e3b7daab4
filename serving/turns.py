"""Leader and followers (Schmidt et al. 2000): one thread waits for events and works on them; before long work another takes over.

Short work wakes nobody.  Where several threads wait at once, every event wakes one more, and each then wants the interpreter's
lock: with 64 streams and batching that left a sixth of two cores idle, and answered 3,970 requests a second for 5,170.  Under
load the thread that waits goes on waiting and hands the work to another, so that no event waits for a thread to wake.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class _Role(threading.local):
    leads: Turns | None = None


_role = _Role()


def pass_on() -> None:
    """Long work begins on this thread: if it is the one that waits for events, another does from now on."""
    turns = _role.leads
    if turns is not None and turns.hand(None):
        _role.leads = None


def beside(work: Callable[[], None]) -> None:
    """Do long work: here, or on another thread where this one waits for events and has more than one of them in work."""
    turns = _role.leads
    if turns is not None:
        if turns.crowded() and turns.hand(work):
            return
        pass_on()
    work()


class _Seat:
    """Where a thread waits for its next turn."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.work: Callable[[], None] | None = None


class Turns:
    """The threads of one source of events.

    step: waits for the next event and works on it; what it raises is logged.  crowded: whether more than one event is in work.
    spare: threads kept for their next turn; what TensorFlow prepared for a thread is lost with it.
    """

    def __init__(self, step: Callable[[], None], crowded: Callable[[], bool], spare: int) -> None:
        self._step, self.crowded, self._spare = step, crowded, spare
        self._parked: list[_Seat] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to wait, on a thread of its own."""
        threading.Thread(target=self._take_turns, args=(None,), name="turns", daemon=True).start()

    def hand(self, work: Callable[[], None] | None) -> bool:
        """Have another thread do some work, or wait for events; False if there can be none."""
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
        while True:
            _role.leads = self if work is None else None
            try:
                if work is not None:
                    work()
                while _role.leads is self:
                    self._step()
            except Exception:
                log.exception("a thread goes on after an unforeseen failure")
                if _role.leads is self:
                    continue
            work = None  # it holds a request
            with self._lock:
                if len(self._parked) >= self._spare:
                    return
                self._parked.append(seat)
            seat.lock.acquire()
            work, seat.work = seat.work, None
