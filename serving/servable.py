"""One loaded version: its session, and the count of requests that still use it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from serving.engine import LoadedModel
from serving.status import Status
from serving.tensors import Tensor

Result = list[Tensor] | Status
Done = Callable[[Result], None]


class Runner(Protocol):
    """Runs a signature, now or in a batch with others, and calls `done` exactly once.

    batches: whether requests are joined.
    """

    batches: bool

    def run(self, feeds: Mapping[str, Tensor], fetches: Sequence[str], deadline: float | None, done: Done) -> None:
        """deadline: on time.monotonic's clock."""
        ...


class Servable:
    """A version of a model that requests can hold on to while it is being replaced."""

    def __init__(self, name: str, version: int, model: LoadedModel, runner: Runner) -> None:
        self.name, self.version, self.runner = name, version, runner
        self.signatures: Mapping[str, Any] = model.signatures
        self._model = model
        self._users, self._closing = 0, False
        self._idle = threading.Condition()

    def acquire(self) -> bool:
        """Hold the version; False once it is being unloaded."""
        with self._idle:
            if self._closing:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        """Let go of it."""
        with self._idle:
            self._users -= 1
            if not self._users:
                self._idle.notify_all()

    def close(self) -> None:
        """Refuse new users, wait for the last one, free the session."""
        with self._idle:
            self._closing = True
            self._idle.wait_for(lambda: self._users == 0)
        self._model.close()
