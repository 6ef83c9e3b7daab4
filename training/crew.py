"""Processes that help a run, and end with it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context, parent_process

import numpy as np
from numpy.typing import NDArray

from training.augment import Pixels
from training.data import Labels
from training.sources import Fresh, Targets


@contextmanager
def crew(count: int | None = None, source: Fresh | None = None) -> Iterator[ProcessPoolExecutor]:
    """`count` processes, by default one a core; what they have not begun when the block is left is dropped.

    source: handed to each process once, for `Fed`.
    """
    workers = ProcessPoolExecutor(count or os.cpu_count(), get_context("spawn"), initializer=_begin, initargs=(source,))
    try:
        yield workers
    finally:
        workers.shutdown(wait=False, cancel_futures=True)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """SIGINT waits until the end of this; processes that begin meanwhile never get one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Fed:
    """A source whose digits are drawn and distorted by a crew: the same digits, faster where cores are many."""

    def __init__(self, source: Fresh, workers: ProcessPoolExecutor, count: int) -> None:
        self.teachers: int = source.teachers
        self.identity: str = source.identity
        self.hands: int = 2 * count  # each process finds its next batch waiting
        self._workers = workers
        with interrupts_held_back():  # the processes are started here, and hear no Ctrl-C while they start
            for _ in range(count):
                workers.submit(int)

    def draw(self, r: np.random.Generator, epoch: int) -> tuple[Pixels, Targets]:
        """As `Fresh.draw`; `r` is left as it was."""
        return self._workers.submit(_draw, r, epoch).result()

    def labelled(self, r: np.random.Generator, epoch: int) -> tuple[Pixels, Labels, NDArray[np.bool_]]:
        """As `Fresh.labelled`; `r` is left as it was."""
        return self._workers.submit(_labelled, r, epoch).result()


_held: list[Fresh] = []
"""In a process of a crew: what it draws from."""


def _begin(source: Fresh | None) -> None:
    """Do not outlive a run that is killed; Ctrl-C is the parent's to hear."""
    if source is not None:
        _held.append(source)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw(r: np.random.Generator, epoch: int) -> tuple[Pixels, Targets]:
    return _held[0].draw(r, epoch)


def _labelled(r: np.random.Generator, epoch: int) -> tuple[Pixels, Labels, NDArray[np.bool_]]:
    return _held[0].labelled(r, epoch)
