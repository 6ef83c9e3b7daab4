"""The three pools a run draws from: MNIST, MNIST redrawn with a brush, synthetic drawings."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from digits import contract, curves, images, preprocess, skeletons, straight, strokes
from digits.contract import Images28
from digits.strokes import synthetic
from training import brush, cache, data
from training.brush import redrawn
from training.data import Labels, Mnist

CHUNK = 1_000
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pools:
    """Images uint8 [N, 28, 28] and labels uint8 [N] of each pool."""

    images: tuple[Images28, Images28, Images28]
    labels: tuple[Labels, Labels, Labels]
    key: str = ""  # tells one build from another


def _end_with_the_parent() -> None:
    """Do not outlive a run that is killed; Ctrl-C is the parent's to hear."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that begin meanwhile never get a SIGINT; this thread gets it at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _redraw_chunk(job: tuple[int, Images28]) -> Images28:
    return redrawn(job[1], seed=job[0])


def _draw_chunk(job: tuple[int, int]) -> tuple[Images28, Labels]:
    return synthetic(job[1], seed=job[0])


def build(mnist: Mnist, synthetic_images: int, seed: int, path: Path, say: Callable[[str], None] = print) -> Pools:
    """Make the pools on all cores, or read them back from `path` (a cache) if it fits this request."""
    code = cache.digest(preprocess, images, contract, brush, curves, straight, skeletons, strokes, data, sys.modules[__name__])
    key = f"{mnist.sha256}/{len(mnist.train_images)}/{synthetic_images}/{seed}/{code}"
    arrays = cache.read(path, key)
    if arrays is None:
        arrays = _made(mnist.train_images, synthetic_images, seed, say)
        cache.write(path, key, **arrays)
    each = mnist.train_images, arrays["redrawn"], arrays["drawn"]
    return Pools(each, (mnist.train_labels, mnist.train_labels, arrays["drawn_labels"]), key)


def _made(train: Images28, synthetic_images: int, seed: int, say: Callable[[str], None]) -> dict[str, NDArray[np.uint8]]:
    redraw_jobs = [(seed * 1_000_003 + at, train[at : at + CHUNK]) for at in range(0, len(train), CHUNK)]
    draw_jobs = [(seed * 1_000_003 + 500_000 + at, min(CHUNK, synthetic_images - at)) for at in range(0, synthetic_images, CHUNK)]
    workers = ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), initializer=_end_with_the_parent)
    try:
        with _interrupts_held_back():  # the workers are started here, and hear no Ctrl-C while they start
            redrawing, drawing = workers.map(_redraw_chunk, redraw_jobs), workers.map(_draw_chunk, draw_jobs)
        again = list(_progress(redrawing, len(redraw_jobs), "redrawing MNIST", say))
        drawn = list(_progress(drawing, len(draw_jobs), "drawing digits", say))
    finally:
        workers.shutdown(wait=False, cancel_futures=True)
    return {
        "redrawn": np.concatenate(again),
        "drawn": np.concatenate([images for images, _ in drawn]),
        "drawn_labels": np.concatenate([labels for _, labels in drawn]),
    }


def _progress(results: Iterator[Result], total: int, what: str, say: Callable[[str], None]) -> Iterator[Result]:
    for done, result in enumerate(results, start=1):
        if done == total or done % max(1, total // 5) == 0:
            say(f"{what}: {done * 100 // total} %")
        yield result
