"""The three pools a run draws from: MNIST, MNIST redrawn with a brush, synthetic drawings."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from digits.contract import Images28
from digits.strokes import synthetic
from training.brush import redrawn
from training.data import Labels, Mnist

CHUNK = 1_000


@dataclass(frozen=True)
class Pools:
    """Images uint8 [N, 28, 28] and labels uint8 [N] of each pool."""

    images: tuple[Images28, Images28, Images28]
    labels: tuple[Labels, Labels, Labels]


def _redraw_chunk(job: tuple[int, Images28]) -> Images28:
    return redrawn(job[1], seed=job[0])


def _draw_chunk(job: tuple[int, int]) -> tuple[Images28, Labels]:
    return synthetic(job[1], seed=job[0])


def build(mnist: Mnist, synthetic_images: int, seed: int, cache: Path, say: Callable[[str], None] = print) -> Pools:
    """Make the pools on all cores, or read them back from `cache` (an .npz) if it fits this request."""
    key = f"{mnist.sha256}/{len(mnist.train_images)}/{synthetic_images}/{seed}/{_source_digest()}"
    try:
        with np.load(cache, allow_pickle=False) as file:
            if str(file["key"]) == key:
                return _pools(mnist, file["redrawn"], file["drawn"], file["drawn_labels"])
    except (FileNotFoundError, BadZipFile, KeyError, ValueError, OSError):
        pass
    train = mnist.train_images
    redraw_jobs = [(seed * 1_000_003 + at, train[at : at + CHUNK]) for at in range(0, len(train), CHUNK)]
    draw_jobs = [(seed * 1_000_003 + 500_000 + at, min(CHUNK, synthetic_images - at)) for at in range(0, synthetic_images, CHUNK)]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as workers:
        again = list(_progress(workers.map(_redraw_chunk, redraw_jobs), len(redraw_jobs), "redrawing MNIST", say))
        drawn = list(_progress(workers.map(_draw_chunk, draw_jobs), len(draw_jobs), "drawing digits", say))
    arrays = np.concatenate(again), np.concatenate([x for x, _ in drawn]), np.concatenate([y for _, y in drawn])
    cache.parent.mkdir(parents=True, exist_ok=True)
    scratch = cache.with_suffix(f".{os.getpid()}.npz")
    np.savez_compressed(scratch, key=key, redrawn=arrays[0], drawn=arrays[1], drawn_labels=arrays[2])
    scratch.replace(cache)
    return _pools(mnist, *arrays)


def _pools(mnist: Mnist, again: Images28, drawn: Images28, drawn_labels: NDArray[np.uint8]) -> Pools:
    return Pools((mnist.train_images, again, drawn), (mnist.train_labels, mnist.train_labels, drawn_labels))


def _source_digest() -> str:
    """Digest of the code that draws, so that a changed hand is not read back from an old cache."""
    import hashlib

    from digits import curves, preprocess, skeletons, strokes
    from training import brush

    text = b"".join(Path(module.__file__ or "").read_bytes() for module in (preprocess, brush, curves, skeletons, strokes))
    return hashlib.sha256(text).hexdigest()[:16]


def _progress(results, total: int, what: str, say):  # type: ignore[no-untyped-def]
    for done, result in enumerate(results, start=1):
        if done == total or done % max(1, total // 5) == 0:
            say(f"{what}: {done * 100 // total} %")
        yield result
