"""Leader and followers (Schmidt et al. 2000): one thread waits for events and works on them; before long work another takes over.

Short work wakes nobody.  Where several threads wait at once, every event wakes one more, and each then wants the interpreter's
lock: with 64 streams and batching that left a sixth of two cores idle, and answered 3,970 requests a second for 5,170.
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
    if turns is not None and turns.promote():
        _role.leads = None


class Turns:
    """The threads of one source of events.

    step: waits for the next event and works on it; never raises.  spare: threads kept for their next turn; what TensorFlow
    prepared for a thread is lost with it.
    """

    def __init__(self, step: Callable[[], None], spare: int) -> None:
        self._step, self._spare = step, spare
        self._parked: list[threading.Lock] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to wait, on a thread of its own."""
        threading.Thread(target=self._take_turns, name="turns", daemon=True).start()

    def promote(self) -> bool:
        """Let the thread that parked last lead, or a new one; False where there can be none: then nobody else waits."""
        with self._lock:
            parked = self._parked.pop() if self._parked else None
        if parked is not None:
            parked.release()
            return True
        try:
            self.start()
        except RuntimeError:
            log.warning("no further thread can be started: until this work is done nobody waits for requests")
            return False
        return True

    def _take_turns(self) -> None:
        turn = threading.Lock()
        turn.acquire()
        while True:
            _role.leads = self
            while _role.leads is self:
                self._step()
            with self._lock:
                if len(self._parked) >= self._spare:
                    return
                self._parked.append(turn)
            turn.acquire()
