"""The three pools a run draws from: MNIST, MNIST redrawn with a brush, synthetic drawings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from digits import curves, preprocess, skeletons, straight, strokes
from digits.contract import Images28
from digits.strokes import synthetic
from training import brush, cache
from training.brush import redrawn
from training.crew import crew, interrupts_held_back
from training.data import Labels, Mnist

CHUNK = 1_000
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pools:
    """Images uint8 [N, 28, 28] and labels uint8 [N] of each pool."""

    images: tuple[Images28, Images28, Images28]
    labels: tuple[Labels, Labels, Labels]
    key: str = ""  # tells one build from another


def _redraw_chunk(job: tuple[int, Images28]) -> Images28:
    return redrawn(job[1], seed=job[0])


def _draw_chunk(job: tuple[int, int]) -> tuple[Images28, Labels]:
    return synthetic(job[1], seed=job[0])


def build(mnist: Mnist, synthetic_images: int, seed: int, path: Path, say: Callable[[str], None] = print) -> Pools:
    """Make the pools on all cores, or read them back from `path` (a cache) if it fits this request."""
    code = cache.digest(preprocess, brush, curves, straight, skeletons, strokes)
    key = f"{mnist.sha256}/{len(mnist.train_images)}/{synthetic_images}/{seed}/{code}"
    arrays = cache.read(path, key)
    if arrays is None:
        arrays = _made(mnist.train_images, synthetic_images, seed, say)
        cache.write(path, key, **arrays)
    images = mnist.train_images, arrays["redrawn"], arrays["drawn"]
    return Pools(images, (mnist.train_labels, mnist.train_labels, arrays["drawn_labels"]), key)


def _made(train: Images28, synthetic_images: int, seed: int, say: Callable[[str], None]) -> dict[str, NDArray[np.uint8]]:
    redraw_jobs = [(seed * 1_000_003 + at, train[at : at + CHUNK]) for at in range(0, len(train), CHUNK)]
    draw_jobs = [(seed * 1_000_003 + 500_000 + at, min(CHUNK, synthetic_images - at)) for at in range(0, synthetic_images, CHUNK)]
    with crew() as workers:
        with interrupts_held_back():  # the processes are started here, and hear no Ctrl-C while they start
            redrawing, drawing = workers.map(_redraw_chunk, redraw_jobs), workers.map(_draw_chunk, draw_jobs)
        again = list(_progress(redrawing, len(redraw_jobs), "redrawing MNIST", say))
        drawn = list(_progress(drawing, len(draw_jobs), "drawing digits", say))
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
