"""Dynamic batching: concurrent requests for the same tensors share one run of the graph.

A batch is closed when it is full or its first request has waited `batch_timeout`, and an engine
thread is free.  There are no threads of its own for the usual timeout of 0: the thread that brings
a request while a slot is free runs it at once, with whatever has gathered meanwhile, and goes on
until nothing is left.  So an idle server adds no wait, and a busy one batches by itself.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from serving.batch_tensors import joined
from serving.batching_options import BatchingOptions
from serving.engine import LoadedModel
from serving.metrics import Metrics
from serving.servable import Done, Result
from serving.status import Code, Status, invalid
from serving.tensors import Tensor
from serving.turns import Asker, beside, elsewhere, is_guest

log = logging.getLogger(__name__)

GONE = Status(Code.CANCELLED, "the client has gone")  # which nobody reads


@dataclass
class Task:
    """A request, or a part of one, waiting to be run.  deadline: on time.monotonic's clock."""

    feeds: Mapping[str, Tensor]
    rows: int
    deadline: float | None
    done: Done
    asker: Asker | None = None


@dataclass
class _Batch:
    opened: float
    tasks: list[Task] = field(default_factory=list)
    rows: int = 0


class BatchPool:
    """The engine slots that all batched models share (num_batch_threads)."""

    def __init__(self, slots: int) -> None:
        if slots <= 0:
            raise invalid(f"num_batch_threads must be positive; was {slots}")
        self._free = slots
        self._lock = threading.Lock()
        self._ready: deque[BatchQueue] = deque()  # queues with a batch that may run, each once: fair in turns
        self._timers: list[tuple[float, int, BatchQueue]] = []  # a heap by due time, each queue once
        self._ticket = itertools.count()
        self._timer_wake = threading.Condition(self._lock)
        self._timekeeper: threading.Thread | None = None

    def push(self, queue: BatchQueue, parts: list[Task]) -> None:
        """Enqueue a request's parts, then run batches on this thread while a slot is free.

        Raises Status if the queue is full.
        """
        with self._lock:
            queue.add(parts, time.monotonic())
            self._note(queue)
            if not self._free or not self._ready:
                return
            self._free -= 1
        beside(self._drain)

    def _note(self, queue: BatchQueue) -> None:
        """Put a queue in line if a batch of it may run, else set the clock for it."""
        if queue.waiting or not queue.batches:
            return
        due = queue.due()
        if due <= time.monotonic():
            queue.waiting = True
            self._ready.append(queue)
            return
        if queue.timed:  # for an older batch, so early enough: it is looked at again then
            return
        queue.timed = True
        heapq.heappush(self._timers, (due, next(self._ticket), queue))
        if self._timekeeper is None:
            self._timekeeper = threading.Thread(target=self._keep_time, name="batch timer", daemon=True)
            self._timekeeper.start()
        self._timer_wake.notify()

    def _drain(self) -> None:
        """Run batches until none is ready, a guest one of them and another thread the rest; the caller has taken a slot."""
        while True:
            with self._lock:
                if not self._ready:
                    self._free += 1
                    return
                queue = self._ready.popleft()
                queue.waiting = False
                batch = queue.batches.popleft()
                self._note(queue)
            try:
                queue.execute(batch)
            except Exception:  # the slot must come back whatever happens
                log.exception("the answers of a batch could not be delivered")
            if self._ready and is_guest() and elsewhere(self._drain):
                return

    def _keep_time(self) -> None:
        while True:
            with self._lock:
                while not self._timers or self._timers[0][0] > time.monotonic():
                    self._timer_wake.wait(self._timers[0][0] - time.monotonic() if self._timers else None)
                _, _, queue = heapq.heappop(self._timers)
                queue.timed = False
                self._note(queue)
                if not self._ready or not self._free:  # whoever has a slot runs what is ready before giving it back
                    continue
                self._free -= 1
            if not elsewhere(self._drain):
                self._drain()


class BatchQueue:
    """Open batches of one model version for one set of tensors."""

    def __init__(self, model: LoadedModel, fetches: tuple[str, ...], options: BatchingOptions, metrics: Metrics) -> None:
        self.fetches = fetches
        self._model, self._options, self._metrics = model, options, metrics
        self.batches: deque[_Batch] = deque()
        self.waiting = False  # in the pool's line already
        self.timed = False  # in its timers already

    def due(self) -> float:
        """From when the oldest batch may run, on time.monotonic's clock; 0: now."""
        first = self.batches[0]
        if len(self.batches) > 1 or first.rows >= self._options.execution_size:
            return 0.0
        return first.opened + self._options.batch_timeout_s

    def add(self, parts: list[Task], now: float) -> None:
        """Append to the newest batch, opening others as rows need; all parts or none."""
        size, limit = self._options.execution_size, self._options.max_enqueued_batches
        space = room = size - self.batches[-1].rows if self.batches else size
        opened = 0
        for part in parts:
            if part.rows > room:
                opened, room = opened + 1, size
            room -= part.rows
        if opened and max(len(self.batches), 1) + opened > limit:  # an empty queue counts as one open batch
            raise self._full(sum(part.rows for part in parts), space)
        for part in parts:
            if not self.batches or self.batches[-1].rows + part.rows > size:
                self.batches.append(_Batch(now))
            self.batches[-1].tasks.append(part)
            self.batches[-1].rows += part.rows

    def _full(self, rows: int, space: int) -> Status:
        limit, queued = self._options.max_enqueued_batches, len(self.batches)
        if not self._options.split_large_batches:
            return Status(
                Code.UNAVAILABLE,
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{queued} batches enqueued and max_enqueued_batches is {limit}",
            )
        size = self._options.execution_size
        capacity = (limit - queued) * size + space
        return Status(
            Code.UNAVAILABLE,
            f"The batch scheduling queue to which this task was submitted is full; task size is {rows} but scheduling capacity "
            f"is only {capacity} (num_enqueued_batches={queued}, max_enqueued_batches={limit}, open_batch_size={size - space}, "
            f"max_execution_batch_size={size})",
        )

    def execute(self, batch: _Batch) -> None:
        """Run a closed batch and hand each task its rows; a failure is everybody's."""
        here: list[Task] = []
        gone: list[Task] = []
        for task in batch.tasks:
            (gone if task.asker is not None and task.asker.gone else here).append(task)
        if gone:
            _tell(gone, GONE)
            batch.tasks = here
            batch.rows = sum(task.rows for task in batch.tasks)
            if not batch.tasks:
                return
        now = time.monotonic()
        live = [task for task in batch.tasks if task.deadline is None or task.deadline > now]
        if not live:
            expired = Status(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
            _tell(batch.tasks, expired)
            return
        try:
            outputs = self._run(batch.tasks, batch.rows, batch.opened)
        except Status as failure:
            _tell(batch.tasks, failure)
            return
        except Exception as exc:  # a bug here must not leave callers waiting
            log.exception("a batch failed in an unforeseen way")
            _tell(batch.tasks, Status(Code.INTERNAL, f"{type(exc).__name__} in batching"))
            return
        if len(batch.tasks) == 1 and all(len(tensor.array) == batch.rows for tensor in outputs):
            _tell(batch.tasks, outputs)
            return
        at = 0
        for task in batch.tasks:
            _tell([task], [Tensor(dtype, array[at : at + task.rows]) for dtype, array, _ in outputs])
            at += task.rows

    def _run(self, tasks: list[Task], rows: int, opened: float) -> list[Tensor]:
        deadlines = [task.deadline for task in tasks]
        latest = None if None in deadlines else max(d for d in deadlines if d is not None)
        timeout = None if latest is None else max(latest - time.monotonic(), 0.001)
        padding = self._padding(rows)
        widen = self._options.pad_variable_length_inputs
        feeds = {name: joined(name, [task.feeds[name] for task in tasks], padding, widen) for name in tasks[0].feeds}
        self._metrics.batch(rows, padding, time.monotonic() - opened)
        outputs = self._model.run(feeds, self.fetches, timeout)
        for _, array, _ in outputs:
            if array.ndim == 0:
                raise Status(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
            if len(array) != rows + padding:
                raise Status(
                    Code.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                    "tensors",
                )
        return outputs

    def _padding(self, rows: int) -> int:
        for size in self._options.allowed_batch_sizes if rows else ():
            if size >= rows:
                return size - rows
        return 0


def _tell(tasks: Sequence[Task], result: Result) -> None:
    """Answer; one who cannot take the answer keeps it from nobody else."""
    for task in tasks:
        try:
            task.done(result)
        except Exception:
            log.exception("an answer could not be delivered")
