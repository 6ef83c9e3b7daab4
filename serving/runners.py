"""How a version's requests reach its engine: each alone, or in batches (servable.Runner)."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from serving.batching import GONE, BatchPool, BatchQueue, Task
from serving.batching_options import BatchingOptions
from serving.engine import LoadedModel
from serving.metrics import Metrics
from serving.servable import Done, Result
from serving.status import Code, Status, invalid
from serving.tensors import HANDLES, Tensor
from serving.turns import Asker, beside, elsewhere, is_guest, whose

log = logging.getLogger(__name__)


HELD_S = 1.0
"""When no run has begun or ended for so long, those under way may be waiting for one that is in line."""
IDLE = 0.5  # cores: runs that wait for each other use none, and those that are merely long would only be slowed by one more
MAX_RUNS = 256
LOOK_S = 0.1  # how late one may learn that its deadline passed in line, or leave it when nobody waits for its answer any more
Work = Callable[[], None]


class _Place(NamedTuple):
    """Work in line."""

    work: Work
    deadline: float | None
    asker: Asker | None

    def is_over(self, now: float) -> bool:
        """Whether it is of no use to anybody any more."""
        return (self.deadline is not None and self.deadline <= now) or (self.asker is not None and self.asker.gone)


class Slots:
    """Bounds how many runs the engine works on at once; what waits in line holds no thread.

    More runs than cores only take each other's time: a request that waits its turn is answered sooner on average than one of
    sixteen that are run together.  But runs may wait for each other (a queue in the graph), and then as many as there are slots
    must not stop everything: while nothing moves, nor computes, one more is let in every HELD_S, up to `most`.
    """

    def __init__(self, slots: int, most: int = MAX_RUNS) -> None:
        self._slots, self._most = slots, most
        self._running, self._allowed = 0, slots
        self._moved = 0.0  # when a run last began or ended, on time.monotonic's clock
        self._line: deque[_Place] = deque()
        self._watched = False
        self._lock = threading.Lock()

    def run(self, work: Work, deadline: float | None = None, asker: Asker | None = None) -> None:
        """Do the work if a slot is free, and then whatever has queued up; else leave it to one who has a slot.

        deadline: on time.monotonic's clock.  Once it has passed, or the asker has gone, the work is done without a slot, and must
        see that for itself.
        """
        with self._lock:
            free = self._running < self._allowed
            if free:
                self._running += 1
                self._moved = time.monotonic()
            else:
                self._line.append(_Place(work, deadline, asker))
                if self._watched:
                    return
                self._watched = True
        if free:
            beside(lambda: self._go_on(work))
        elif not elsewhere(self._watch):
            self._watched = False

    def _go_on(self, work: Work) -> None:
        began = time.monotonic()
        while True:
            _do(work)
            now = time.monotonic()
            with self._lock:
                self._moved = now
                if now - began > HELD_S:  # long runs do end
                    self._allowed = self._slots
                if not self._line or self._running > self._allowed:
                    self._running -= 1
                    return
                work = self._line.popleft().work
            began = now
            if is_guest() and elsewhere(functools.partial(self._go_on, work)):
                return

    def _watch(self) -> None:
        """Look after those in line until there are none."""
        moved = seen = burnt = 0.0
        while True:
            time.sleep(LOOK_S)
            now, more = time.monotonic(), None
            with self._lock:
                late: list[_Place] = []
                line, self._line = self._line, deque()
                for place in line:  # asked once: a client may go at any moment
                    (late if place.is_over(now) else self._line).append(place)
                waiting = self._watched = bool(self._line)
                if moved != self._moved:
                    moved, seen, burnt = self._moved, now, time.process_time()
                idle = now - moved > HELD_S and time.process_time() - burnt < IDLE * (now - seen)
                if waiting and idle and self._running < self._most:
                    more = self._line.popleft().work
                    self._running += 1
                    self._allowed, self._moved = max(self._allowed, self._running), now
            for place in late:
                _do(place.work)
            if more is not None and not elsewhere(functools.partial(self._go_on, more)):
                self._go_on(more)
            if not waiting:
                return


def _do(work: Work) -> None:
    try:
        work()
    except Exception:  # a slot must come back whatever happens
        log.exception("an answer could not be delivered")


class DirectRunner:
    """Runs each request alone."""

    batches = False

    def __init__(self, model: LoadedModel, slots: Slots) -> None:
        self._model, self._slots = model, slots

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], deadline: float | None, done: Done) -> None:
        """Run as soon as a slot is free, on this thread or on another."""
        asker = whose()
        self._slots.run(
            lambda: done(GONE if asker is not None and asker.gone else self._result(feeds, fetches, deadline)), deadline, asker
        )

    def _result(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], deadline: float | None) -> Result:
        timeout = None
        if deadline is not None:
            timeout = deadline - time.monotonic()
            if timeout <= 0:
                return Status(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
        try:
            return self._model.run(feeds, fetches, timeout)
        except Status as failure:
            return failure
        except Exception as exc:
            log.exception("the engine failed in an unforeseen way")
            return Status(Code.INTERNAL, f"{type(exc).__name__} in the engine")


class BatchingRunner:
    """Runs a model's requests in batches (servable.Runner)."""

    batches = True

    def __init__(self, model: LoadedModel, options: BatchingOptions, pool: BatchPool, slots: Slots, metrics: Metrics) -> None:
        self._model, self._options, self._pool, self._metrics = model, options, pool, metrics
        self._queues: dict[tuple[frozenset[str], frozenset[str]], BatchQueue] = {}
        self._alone = DirectRunner(model, slots)

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], deadline: float | None, done: Done) -> None:
        """Enqueue; `done` is called from whichever thread ran the batch."""
        if not feeds:
            raise invalid("Batching Run() must have at least one input tensor")
        sizes = set()
        for tensor in feeds.values():
            if not tensor.dims:
                raise invalid("Batching Run() input tensors must have at least one dimension")
            sizes.add(tensor.dims[0])
        if len(sizes) != 1:
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
        rows = sizes.pop()
        if rows > self._options.max_batch_size:
            raise invalid(f"Task size {rows} is larger than maximum input batch size {self._options.max_batch_size}")
        if any(tensor.dtype in HANDLES for tensor in feeds.values()):
            raise Status(Code.INTERNAL, "Tensor concat operation failed: INTERNAL: Unexpected data type")
        deep = any(tensor.deep for tensor in feeds.values())  # past what numpy can shape: alone
        if deep and not self._options.pad_variable_length_inputs:
            self._alone.run(feeds, fetches, deadline, done)
            return
        order = tuple(fetches)
        key = (frozenset(feeds), frozenset(order))
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues.setdefault(key, BatchQueue(self._model, tuple(sorted(key[1])), self._options, self._metrics))
        if order != queue.fetches:
            place = [queue.fetches.index(name) for name in order]
            inner = done

            def done(result: Result) -> None:
                inner(result if isinstance(result, Status) else [result[at] for at in place])

        self._pool.push(queue, self._parts(feeds, rows, deadline, done))

    def _parts(self, feeds: Mapping[str, Tensor], rows: int, deadline: float | None, done: Done) -> list[Task]:
        """One task, or with splitting several whose answers are joined again."""
        size, asker = self._options.execution_size, whose()
        if not self._options.split_large_batches or rows <= size:
            return [Task(feeds, rows, deadline, done, asker)]
        starts = range(0, rows, size)
        join = _Join(len(starts), done)
        return [
            Task(
                {name: Tensor(t.dtype, t.array[at : at + size]) for name, t in feeds.items()},
                min(size, rows - at), deadline, join.part(index), asker,
            )
            for index, at in enumerate(starts)
        ]  # fmt: skip


class _Join:
    """Collects the answers of a split request."""

    def __init__(self, parts: int, done: Done) -> None:
        self._results: list[Result | None] = [None] * parts
        self._missing, self._done, self._lock = parts, done, threading.Lock()

    def part(self, index: int) -> Done:
        def done(result: Result) -> None:
            with self._lock:
                self._results[index] = result
                self._missing -= 1
                if self._missing:
                    return
            for one in self._results:
                if isinstance(one, Status):
                    self._done(one)
                    return
            pieces = [one for one in self._results if isinstance(one, list)]
            try:
                joined: Result = [
                    Tensor(same[0].dtype, np.concatenate([t.array for t in same])) for same in zip(*pieces, strict=True)
                ]
            except ValueError:
                joined = Status(Code.INTERNAL, "Tensor concat operation failed: the parts of a split request differ in shape")
            self._done(joined)

        return done
