"""Concurrent requests of a worker share one Predict when the channel is busy anyway.

A request that finds nothing under way is sent at once: no wait is added at low load.  Those that come while a call is
under way gather, and the next call takes all of them.  Nobody's failure is another's: what can fail in a single image
has failed before it comes here.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from digits import contract as c
from digits.client import BATCH
from digits.errors import Overloaded
from digits.replies import Prediction
from webapp.tracing import Headers

NO_TRACE = Headers()
Key = tuple[int | None, str | None]
"""Version and label asked for: requests for different ones cannot share a call."""


@dataclass(slots=True, eq=False)
class Asked:
    """One request's images on their way to an answer.

    images: uint8 [N, 28, 28]; deadline: on time.monotonic's clock; request_id, trace: told to the model server; free: the caller
    named no version, so another will do.
    """

    images: c.Images28
    deadline: float
    key: Key = (None, None)
    request_id: str = ""
    trace: Headers = NO_TRACE
    free: bool = False
    future: Future[Prediction] = field(default_factory=Future)

    def fail(self, error: BaseException) -> None:
        """Give it an error, unless it has its answer already."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


Send = Callable[[Sequence[Asked]], "Future[Prediction]"]
"""Sends all images of a batch in one call; the future holds their answers in the same order."""


class Coalescer:
    """Joins requests into calls.

    in_flight: calls under way at once; max_rows: images joined into one call; max_waiting: images in the queue, beyond which
    Overloaded is raised at once.  Thread-safe.
    """

    def __init__(self, send: Send, in_flight: int = 1, max_rows: int = BATCH, max_waiting: int = 2048) -> None:
        self._send = send
        self._free, self._max_rows, self._max_waiting = in_flight, max_rows, max_waiting
        self._queue: deque[Asked] = deque()
        self._rows = 0
        self._held = False
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._queue)

    def submit(self, asked: Asked) -> Future[Prediction]:
        """Queue a request, or send it at once if a call is free.  Raises Overloaded."""
        with self._lock:
            if self._rows + len(asked.images) > max(self._max_waiting, len(asked.images)):
                raise Overloaded(f"{len(self._queue)} requests are waiting already")
            self._queue.append(asked)
            self._rows += len(asked.images)
        self._go()
        return asked.future

    def hold(self) -> None:
        """Send nothing until release(): more requests are at hand and are being read."""
        self._held = True

    def release(self) -> None:
        """Send what has gathered."""
        self._held = False
        self._go()

    def _go(self) -> None:
        while not self._held:
            with self._lock:
                batch = self._batch() if self._free else []
                if not batch:
                    return
                self._free -= 1
            try:
                call = self._send(batch)
            except BaseException as exc:
                call = Future()
                call.set_exception(exc)
            if call.done():  # here, for a callback would come back to this loop, a frame deeper for every batch
                with self._lock:
                    self._free += 1
                _answer(batch, call)
            else:
                call.add_done_callback(lambda done, batch=batch: self._answered(batch, done))  # type: ignore[misc]

    def _batch(self) -> list[Asked]:
        """Take the first in the queue and all that can go with it, in order."""
        batch: list[Asked] = []
        rows = 0
        kept: deque[Asked] = deque()
        for one in self._queue:
            if one.future.done():
                continue
            alike = not batch or (one.key == batch[0].key and one.free == batch[0].free)
            if alike and (not batch or rows + len(one.images) <= self._max_rows):
                batch.append(one)
                rows += len(one.images)
            else:
                kept.append(one)
        self._queue = kept
        self._rows = sum(len(one.images) for one in kept)
        return batch

    def _answered(self, batch: Sequence[Asked], call: Future[Prediction]) -> None:
        with self._lock:
            self._free += 1
        self._go()  # the next call is under way while these answers are written
        _answer(batch, call)


def _answer(batch: Sequence[Asked], call: Future[Prediction]) -> None:
    """Give everybody their own rows of a call that is done."""
    error = call.exception()
    if error is not None:
        for one in batch:
            one.fail(error)
        return
    answer = call.result()
    at = 0
    for one in batch:
        rows = slice(at, at + len(one.images))
        at = rows.stop
        with suppress(InvalidStateError):  # it was too late for this one
            one.future.set_result(Prediction(answer.probabilities[rows], answer.digit[rows], answer.version))


def joined(batch: Sequence[Asked]) -> Any:
    """The images of a batch as one array, uint8 [N, 28, 28]."""
    return batch[0].images if len(batch) == 1 else np.concatenate([one.images for one in batch])
