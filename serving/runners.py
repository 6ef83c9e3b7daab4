"""How a version's requests reach its engine: each alone, or in batches (servable.Runner)."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from serving.batching import BatchPool, BatchQueue, Task
from serving.batching_options import BatchingOptions
from serving.engine import LoadedModel
from serving.metrics import Metrics
from serving.servable import Done, Result
from serving.status import Code, Status, invalid
from serving.tensors import HANDLES, Tensor
from serving.turns import beside

log = logging.getLogger(__name__)


class Slots:
    """Bounds how many runs the engine works on at once; what waits in line holds no thread.

    More runs than cores only take each other's time: a request that waits its turn is answered sooner on average than one of
    sixteen that are run together.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._line: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()

    def run(self, work: Callable[[], None]) -> None:
        """Do the work if a slot is free, and then whatever has queued up; else leave it to one who has a slot."""
        with self._lock:
            if not self._free:
                self._line.append(work)
                return
            self._free -= 1
        beside(lambda: self._go_on(work))

    def _go_on(self, work: Callable[[], None]) -> None:
        while True:
            try:
                work()
            except Exception:  # the slot must come back whatever happens
                log.exception("an answer could not be delivered")
            with self._lock:
                if not self._line:
                    self._free += 1
                    return
                work = self._line.popleft()


class DirectRunner:
    """Runs each request alone."""

    batches = False

    def __init__(self, model: LoadedModel, slots: Slots) -> None:
        self._model, self._slots = model, slots

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], deadline: float | None, done: Done) -> None:
        """Run as soon as a slot is free, on this thread or on another."""
        self._slots.run(lambda: done(self._result(feeds, fetches, deadline)))

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

        self._pool.push(queue, feeds, self._parts(feeds, rows, deadline, done))

    def _parts(self, feeds: Mapping[str, Tensor], rows: int, deadline: float | None, done: Done) -> list[Task]:
        """One task, or with splitting several whose answers are joined again."""
        size = self._options.execution_size
        if not self._options.split_large_batches or rows <= size:
            return [Task(feeds, rows, deadline, done)]
        starts = range(0, rows, size)
        join = _Join(len(starts), done)
        return [
            Task(
                {name: Tensor(t.dtype, t.array[at : at + size]) for name, t in feeds.items()},
                min(size, rows - at), deadline, join.part(index),
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
